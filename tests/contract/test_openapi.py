"""The OpenAPI document: generation, descriptions, schemas and linters."""

import json
import os
import re
import subprocess
from typing import Any

import pytest

from dev import ROOT
from dev.openapi import text
from tests.support.documents.openapi import DOCUMENT, OPERATIONS, PATH, SCHEMAS
from todo_api.app import create_app
from todo_api.settings import Settings


def test_committed_document_is_up_to_date() -> None:
    assert PATH.read_text() == text(), "make openapi updates docs/openapi.json"


def test_document_is_built_once_on_first_use() -> None:
    """A cold start does not build the document."""
    app = create_app(Settings(neon_database_url="postgresql://nobody@localhost/none"))
    assert app.openapi_schema is None
    assert app.openapi() is app.openapi()


def test_identity_source_changes_only_the_security_scheme() -> None:
    settings = Settings(
        neon_database_url="postgresql://nobody@localhost/none", identity_source="authorizer"
    )
    document = create_app(settings).openapi()
    scheme = document["components"]["securitySchemes"].pop("Caller")
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    header = json.loads(PATH.read_text())
    assert header["components"]["securitySchemes"].pop("Caller")["name"] == "X-User-Id"
    assert document == header


def test_descriptions_and_examples_are_complete() -> None:
    operations = [operation.description for operation in OPERATIONS.values()]
    parameters = [node for operation in operations for node in operation.get("parameters", [])]
    responses = [node for operation in operations for node in operation["responses"].values()]
    headers = [header for response in responses for header in response.get("headers", {}).values()]
    fields = [field for schema in SCHEMAS.values() for field in schema["properties"].values()]
    described = [
        *SCHEMAS.values(),
        *DOCUMENT["components"]["securitySchemes"].values(),
        *DOCUMENT["tags"],
    ]
    described += [*operations, *parameters, *responses, *headers, *fields]
    assert all(len(node["description"]) > 5 for node in described)
    assert all(parameter["schema"]["examples"] for parameter in parameters)
    for name, schema in SCHEMAS.items():
        if name.endswith(("Create", "Update", "Public")):
            assert all(field["examples"] for field in schema["properties"].values())
    assert set(SCHEMAS) >= {
        *("TodoCreate", "TodoUpdate", "TodoPublic", "TodoPage"),
        *("Problem", "InvalidPart", "Health", "Readiness"),
    }


def test_every_response_with_a_body_has_a_model() -> None:
    """Without one FastAPI would send every column of a row."""
    without = [
        name
        for name, operation in OPERATIONS.items()
        for response in operation.description["responses"].values()
        for content in response.get("content", {}).values()
        if not re.search("[$]ref", json.dumps(content.get("schema", {})))
    ]
    assert without == []


def test_response_schemas_have_no_limits() -> None:
    """A client that counts characters differently would reject a stored todo."""
    responses = SCHEMAS.keys() - _request_schemas()
    assert responses >= {"TodoPublic", "TodoPage", "Problem", "InvalidPart", "Health", "Readiness"}
    for name in responses:
        schema = json.dumps(SCHEMAS[name])
        assert not re.search(
            r'"(minLength|maxLength|pattern|maxItems|minItems|minimum|maximum)"', schema
        )


def test_the_document_has_no_read_only_field_and_a_server_that_is_a_url() -> None:
    assert '"readOnly"' not in json.dumps(DOCUMENT)
    assert [server["url"] for server in DOCUMENT["servers"]] == ["/"]
    assert DOCUMENT["info"]["license"] == {"name": "MIT", "identifier": "MIT"}
    assert SCHEMAS["Problem"]["properties"]["status"]["format"] == "int32"


def test_null_completion_is_documented_where_it_is_accepted() -> None:
    null = {"type": "null"}
    assert null in SCHEMAS["TodoCreate"]["properties"]["is_completed"]["anyOf"]
    assert SCHEMAS["TodoUpdate"]["properties"]["is_completed"]["type"] == "boolean"


def test_no_inline_type_has_the_name_of_a_schema() -> None:
    """Generators name the type of an inline enum or object after its field."""
    found = _inline_types(DOCUMENT)
    assert "in" in found  # of `InvalidPart`
    assert found & {name.lower() for name in SCHEMAS} == set()


def _inline_types(node: Any) -> set[str]:
    """Return the names, in lower case, of the fields that have an inline enum or object.

    A field is a property of a schema, or a parameter.
    """
    if isinstance(node, list):
        return {name for part in node for name in _inline_types(part)}
    if not isinstance(node, dict):
        return set()
    fields = dict(node["properties"]) if isinstance(node.get("properties"), dict) else {}
    if "in" in node and "schema" in node:
        fields[node["name"]] = node["schema"]
    found = {
        re.sub(r"\W|_", "", name).lower()
        for name, schema in fields.items()
        if _is_inline_type(schema)
    }
    return found | _inline_types(list(node.values()))


def _is_inline_type(schema: dict[str, Any]) -> bool:
    if schema.keys() & {"enum", "const", "properties"}:
        return True
    parts = [*schema.get("anyOf", []), *schema.get("oneOf", []), *schema.get("allOf", [])]
    if "items" in schema:
        parts.append(schema["items"])
    return any(_is_inline_type(part) for part in parts)


def test_request_schemas_allow_no_additional_fields() -> None:
    closed = {
        name for name, schema in SCHEMAS.items() if schema.get("additionalProperties") is False
    }
    assert closed == _request_schemas() >= {"TodoCreate", "TodoUpdate"}


def _request_schemas() -> set[str]:
    bodies = [
        operation.description["requestBody"]
        for operation in OPERATIONS.values()
        if operation.has_body
    ]
    schemas = [content["schema"]["$ref"] for body in bodies for content in body["content"].values()]
    return {schema.rpartition("/")[2] for schema in schemas}


@pytest.mark.slow
@pytest.mark.node
@pytest.mark.parametrize(
    "command",
    [
        (
            "spectral",
            "lint",
            "--ruleset",
            "tests/contract/spectral.yaml",
            "--fail-severity",
            "hint",
        ),
        ("redocly", "lint", "--config", "tests/contract/redocly.yaml", "--format", "json"),
    ],
    ids=lambda command: command[0],
)
def test_linters_report_no_errors_or_warnings(command: tuple[str, ...]) -> None:
    environment = os.environ | {
        "REDOCLY_TELEMETRY": "off",
        "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true",
    }
    run = [str(ROOT / "node_modules/.bin" / command[0]), *command[1:], str(PATH)]
    outcome = subprocess.run(
        run, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    if command[0] == "redocly":
        assert json.loads(outcome.stdout)["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}
