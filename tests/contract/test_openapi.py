"""The OpenAPI document says what the API does, no more and no less."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urljoin
from uuid import uuid4

import pytest

from dev.openapi import text
from tests.support.apps import app_on
from tests.support.clients import Api, Response, invoke
from tests.support.events import http_api_event, rest_api_event
from tests.support.machine import ROOT
from tests.support.pages import CHANGING
from todo_api.app import create_app
from todo_api.database.engine import Database
from todo_api.database.errors import DatabaseUnavailable
from todo_api.database.repository import NotReady
from todo_api.models.page import Cursor
from todo_api.models.todo import TodoPublic
from todo_api.settings import Settings

PATH = ROOT / "docs/openapi.json"
DOCUMENT: dict[str, Any] = json.loads(PATH.read_text())
COMMON_HEADERS = {
    *("content-type", "content-length", "vary"),
    *("x-request-id", "cache-control", "x-content-type-options"),
}
"""Header fields that are HTTP's own, CORS's, and those of every response, which the document tells in words."""

OPTIONAL_HEADERS = {"idempotency-replayed", "accept-patch"}
"""Header fields that only some of the responses with a status have."""

Operation = tuple[str, str, dict[str, Any]]
OPERATIONS: dict[str, Operation] = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


PARAMETERS: dict[str, dict[str, Any]] = {
    parameter["name"]: parameter
    for _, _, operation in OPERATIONS.values()
    for parameter in operation.get("parameters", [])
}


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """What a reference refers to; anything else is itself."""
    if "$ref" in node:
        for step in node["$ref"].split("/"):
            node = DOCUMENT if step == "#" else node[step]
    return node


def as_documented(operation_id: str, answer: Response) -> dict[str, Any]:
    """Check an answer's status, type and headers against the document; the response that describes it."""
    responses: dict[str, Any] = OPERATIONS[operation_id][2]["responses"]
    assert str(answer.status) in responses, (operation_id, answer)
    response: dict[str, Any] = responses[str(answer.status)]
    documented = {name.lower() for name in response.get("headers", {})}
    sent = set(answer.headers) - COMMON_HEADERS
    assert documented - OPTIONAL_HEADERS <= sent <= documented
    assert list(response.get("content", {})) == ([answer.headers["content-type"]] if answer.body else [])
    return response


def example_of(schema: dict[str, Any]) -> dict[str, Any]:
    """A JSON object that the examples of a schema's fields make."""
    return {name: field["examples"][0] for name, field in resolved(schema)["properties"].items()}


def request_for(operation_id: str, todo_id: str) -> dict[str, Any]:
    """The request that the examples of an operation make, for a todo."""
    method, path, operation = OPERATIONS[operation_id]
    request: dict[str, Any] = {"method": method, "path": path.replace("{id}", todo_id), "user": "alice"}
    if "requestBody" in operation:
        request["json"] = example_of(operation["requestBody"]["content"]["application/json"]["schema"])
    return request


@pytest.fixture
def todo_id(lambda_api: Api) -> str:
    """The id of the only todo of the examples' user, made by the example of create."""
    return fresh_todo(lambda_api)


def fresh_todo(call: Api) -> str:
    """Make the examples' user start again with one todo, and return its id."""
    for item in call("GET", "/v1/todos?limit=100", user="alice").json()["items"]:
        call("DELETE", f"/v1/todos/{item['id']}", user="alice")
    created: str = call(**request_for("createTodo", "")).json()["id"]
    return created


def but_for_what_changes(value: Any) -> Any:
    """A JSON object with a placeholder for each id and time."""
    return json.loads(CHANGING.sub("*", json.dumps(value | {"request_id": "*"} if "request_id" in value else value)))


# --- the file ---------------------------------------------------------------------------------------------------------


def test_the_committed_document_is_the_code_s() -> None:
    """Proves that `make openapi` would change nothing."""
    assert PATH.read_text() == text(), "make openapi writes docs/openapi.json anew"


def test_the_document_is_built_only_when_asked_for() -> None:
    """Proves that a cold start does not pay for it, and that it is built once."""
    app = create_app(Settings(neon_database_url="postgresql://nobody@localhost/none"))
    assert app.openapi_schema is None
    assert app.openapi() is app.openapi()


def test_the_document_names_the_way_in_which_callers_are_known() -> None:
    """Proves that behind an authorizer the document asks for a token, and is the same otherwise."""
    settings = Settings(neon_database_url="postgresql://nobody@localhost/none", identity_source="authorizer")
    document = create_app(settings).openapi()
    scheme = document["components"]["securitySchemes"].pop("Caller")
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    header = json.loads(PATH.read_text())
    assert header["components"]["securitySchemes"].pop("Caller")["name"] == "X-User-Id"
    assert document == header


def test_everything_has_a_description_and_an_example() -> None:
    """Proves that no operation, parameter, header or field goes without a description, nor what callers send."""
    components = DOCUMENT["components"]
    parameters = [node for _, _, operation in OPERATIONS.values() for node in operation.get("parameters", [])]
    responses = [node for _, _, operation in OPERATIONS.values() for node in operation["responses"].values()]
    headers = [header for response in responses for header in response.get("headers", {}).values()]
    fields = [field for schema in components["schemas"].values() for field in schema["properties"].values()]
    described = [*components["schemas"].values(), *components["securitySchemes"].values(), *DOCUMENT["tags"]]
    described += [operation for _, _, operation in OPERATIONS.values()]
    assert all(len(node["description"]) > 5 for node in [*described, *parameters, *responses, *headers, *fields])
    assert all(parameter["schema"]["examples"] for parameter in parameters)
    for name in ("TodoCreate", "TodoUpdate", "TodoPublic"):
        assert all(field["examples"] for field in components["schemas"][name]["properties"].values())
    assert set(components["schemas"]) == {
        *("TodoCreate", "TodoUpdate", "TodoPublic", "TodoPage"),
        *("Problem", "InvalidPart", "Status"),
    }


def test_responses_have_no_limits() -> None:
    """Proves it for their fields: clients that count otherwise would refuse what the API has stored."""
    for name in ("TodoPublic", "TodoPage", "Problem", "InvalidPart", "Status"):
        schema = json.dumps(DOCUMENT["components"]["schemas"][name])
        assert not re.search(r'"(minLength|maxLength|pattern|maxItems|minItems|minimum|maximum)"', schema)


def test_bodies_take_no_other_fields() -> None:
    """Proves that a request with an unknown field is wrong by the document too."""
    schemas = DOCUMENT["components"]["schemas"]
    assert {name for name in schemas if schemas[name].get("additionalProperties") is False} == {
        "TodoCreate",
        "TodoUpdate",
    }


@pytest.mark.node
@pytest.mark.parametrize(
    "command",
    [
        ("spectral", "lint", "--ruleset", "tests/contract/spectral.yaml", "--fail-severity", "hint"),
        ("redocly", "lint", "--config", "tests/contract/redocly.yaml", "--format", "json"),
    ],
    ids=lambda command: command[0],
)
def test_the_linters_find_nothing(command: tuple[str, ...]) -> None:
    """Proves it for Spectral's `oas` and Redocly's `recommended` rules, warnings included."""
    silent = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    run = [str(ROOT / "node_modules/.bin" / command[0]), *command[1:], str(PATH)]
    outcome = subprocess.run(run, cwd=ROOT, env=os.environ | silent, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    if command[0] == "redocly":
        assert json.loads(outcome.stdout)["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}


# --- examples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_each_operation_takes_its_examples(lambda_api: Api, todo_id: str, operation_id: str) -> None:
    """Proves that the examples make a request, in each of its types, which succeeds as documented."""
    operation = OPERATIONS[operation_id][2]
    for media_type in operation.get("requestBody", {}).get("content", {"": None}):
        request = request_for(operation_id, todo_id)
        answer = lambda_api(**request, headers={"Content-Type": media_type} if media_type else None)
        as_documented(operation_id, answer)
        assert 200 <= answer.status < 300
        todo_id = fresh_todo(lambda_api)


def test_the_examples_of_a_todo_are_what_creating_it_answers(lambda_api: Api) -> None:
    """Proves that request and response tell of one todo, in all its fields but ids and times."""
    answer = lambda_api(**request_for("createTodo", ""))
    schema = as_documented("createTodo", answer)["content"]["application/json"]["schema"]
    example = example_of(schema)
    assert but_for_what_changes(answer.json()) == but_for_what_changes(example)
    public = TodoPublic.model_validate(example)
    assert public.model_dump(mode="json") == example
    for name in ("If-Match", "If-None-Match"):
        assert PARAMETERS[name]["schema"]["examples"] == [public.etag]
    is_completed = PARAMETERS["is_completed"]["schema"]["examples"][0]
    cursor = str(Cursor(public.created_at, public.id, is_completed))
    assert PARAMETERS["cursor"]["schema"]["examples"] == [cursor]


def test_parameters_take_their_examples(lambda_api: Api, todo_id: str) -> None:
    """Proves it for each parameter of each operation, all of the query's at once."""
    sent = 0
    for operation_id, (_, _, operation) in OPERATIONS.items():
        parameters = operation.get("parameters", [])
        examples = {(node["in"], node["name"]): node["schema"]["examples"][0] for node in parameters}
        query = {name: json.dumps(value).strip('"') for (part, name), value in examples.items() if part == "query"}
        for headers in [{}, *({name: value} for (part, name), value in examples.items() if part == "header")]:
            request = request_for(operation_id, todo_id)
            answer = lambda_api(**request | {"path": f"{request['path']}?{urlencode(query)}"}, headers=headers)
            as_documented(operation_id, answer)
            # The example's version is none of this todo's; Idempotency-Key makes one more.
            assert answer.status == 412 if "If-Match" in headers else answer.status < 300
            todo_id = fresh_todo(lambda_api)
            sent += len(query) + len(headers)
    assert sent == 3 + 1 + 5
    assert lambda_api("GET", f"/v1/todos/{PARAMETERS['id']['schema']['examples'][0]}", user="alice").status == 404


# --- statuses ---------------------------------------------------------------------------------------------------------

PROVOCATIONS: dict[int, dict[str, Any]] = {
    304: {"headers": {"If-None-Match": "*"}},
    400: {"body": '{"title"'},
    401: {"user": None},
    404: {"path": str(uuid4())},
    412: {"headers": {"If-Match": '"1"'}},
    413: {"body": " " * 65_537},
    415: {"headers": {"Content-Type": "text/plain"}},
    422: {"path": "not-a-uuid"},
}
"""What makes a request's example one that is answered so. 500 and 503 are provoked on our side."""


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Makes every session of the database raise."""

    def break_with(error: Exception) -> None:
        def session(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(Database, "session", session)

    return break_with


def test_each_status_occurs_where_it_is_listed_and_nowhere_else(lambda_api: Api) -> None:
    """Proves it for each operation and each status that a request can bring about, with the errors' examples."""
    pairs = 0
    for operation_id, (_, _, operation) in OPERATIONS.items():
        for status, change in PROVOCATIONS.items():
            todo_id = fresh_todo(lambda_api)
            request = request_for(operation_id, todo_id) | change
            if "body" in change:
                request.pop("json", None)
            if "path" in change:
                request["path"] = request_for(operation_id, str(change["path"]))["path"]
            if status == 422 and operation_id in ("createTodo", "listTodos"):
                request = {
                    "createTodo": request | {"json": {"title": " "}},
                    "listTodos": request | {"path": "/v1/todos?verbose=1"},
                }[operation_id]
            answer = lambda_api(**request)
            response = as_documented(operation_id, answer)
            assert (answer.status == status) == (str(status) in operation["responses"]), (operation_id, answer)
            if answer.status >= 400:
                examples = [example | {"errors": None} for example in _examples(response).values()]
                assert but_for_what_changes(answer.json()) | {"errors": None} in examples
            pairs += 1
    assert pairs == len(OPERATIONS) * len(PROVOCATIONS)


def _examples(response: dict[str, Any]) -> dict[str, Any]:
    """The examples of an error by their names."""
    examples = response["content"]["application/problem+json"]["examples"]
    return {name: but_for_what_changes(example["value"]) for name, example in examples.items()}


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (RuntimeError(), 500, "internal-error"),
        (
            DatabaseUnavailable(may_have_run=True, phase="execute", reason="for this test"),
            503,
            "database-unavailable-outcome-unknown",
        ),
        (NotReady("for this test"), 503, "not-ready"),
    ],
)
def test_each_operation_that_needs_the_database_lists_its_failures(
    lambda_api: Api, broken: Callable[[Exception], None], error: Exception, status: int, name: str
) -> None:
    """Proves that they list 500 and 503 as they answer them, and that the others do not."""
    broken(error)
    for operation_id, (_, _, operation) in OPERATIONS.items():
        answer = lambda_api(**request_for(operation_id, str(uuid4())))
        response = as_documented(operation_id, answer)
        assert (answer.status == status) == (str(status) in operation["responses"])
        if answer.status == status and (name != "not-ready" or operation_id == "checkReadiness"):
            assert but_for_what_changes(answer.json()) == _examples(response)[name]


def test_the_other_errors_have_true_examples(lambda_api: Api, todo_id: str) -> None:
    """Proves the examples that not every operation with the status can show."""
    key = {"Idempotency-Key": str(uuid4())}
    lambda_api("POST", "/v1/todos", user="alice", json={"title": "one"}, headers=key)
    one = f"/v1/todos/{todo_id}"
    for operation_id, name, answer in [
        ("replaceTodo", "invalid-request", lambda_api("PUT", one, user="alice", json={"title": " "})),
        (
            "createTodo",
            "idempotency-key-reused",
            lambda_api("POST", "/v1/todos", user="alice", json={"title": "another"}, headers=key),
        ),
        (
            "updateTodo",
            "unsupported-media-type",
            lambda_api("PATCH", one, user="alice", body="x", headers={"Content-Type": "text/plain"}),
        ),
    ]:
        assert but_for_what_changes(answer.json()) == _examples(as_documented(operation_id, answer))[name]
    with app_on("postgresql://nobody@127.0.0.1:1/none", database_timeout_seconds=0.3) as call:
        answer = call("GET", "/v1/todos", user="alice")
        assert (
            but_for_what_changes(answer.json())
            == _examples(as_documented("listTodos", answer))["database-unavailable-not-executed"]
        )


# --- /docs ------------------------------------------------------------------------------------------------------------


def test_docs_find_the_document_wherever_the_api_is(lambda_api: Api, local_api: Api) -> None:
    """Proves that /docs and its document work at the root, behind a stage and below a mapping, and agree."""
    rest = invoke(rest_api_event("GET", "/docs", {}, None))
    for page in (lambda_api("GET", "/docs"), local_api("GET", "/docs"), rest):
        assert page.status == 200
        html = page.body.decode()
        (*_, url) = re.findall(r"""["']?\burl["']?: ["']([^"']*)["']""", html)
        for base in ("http://127.0.0.1:8000/", "https://api.example/dev/", "https://api.example/a/b/"):
            document = urljoin(f"{base}docs", url)
            assert document == f"{base}openapi.json"
            assert urljoin(document, DOCUMENT["servers"][0]["url"]) == base
    for answer in (lambda_api("GET", "/openapi.json"), local_api("GET", "/openapi.json")):
        assert answer.json() == DOCUMENT
    assert invoke(rest_api_event("GET", "/openapi.json", {}, None)).json() == DOCUMENT
    assert invoke(http_api_event("GET", "/docs/oauth2-redirect", {}, None)).status == 404
