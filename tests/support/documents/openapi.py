"""The OpenAPI document: its operations and examples, and a check of responses against it."""

import json
import re
from typing import Any

from dev import ROOT
from tests.support.documents import pages
from tests.support.documents.operations import Operation, operations_in
from tests.support.documents.walk import Caller
from tests.support.http.clients import Api, Response

PATH = ROOT / "docs/openapi.json"
DOCUMENT: dict[str, Any] = json.loads(PATH.read_text())
SCHEMAS: dict[str, dict[str, Any]] = DOCUMENT["components"]["schemas"]

OPERATIONS: dict[str, Operation] = {
    operation.name: operation for operation in operations_in(DOCUMENT)
}
"""Each operation, by `operationId`."""

COMMON_HEADERS = {
    *("content-type", "content-length", "vary"),
    *("x-request-id", "cache-control", "x-content-type-options"),
}
"""Header fields of HTTP, CORS and every response, which the document only describes in its text."""

OPTIONAL_HEADERS = {"idempotency-replayed", "accept-patch", "accept-encoding"}
"""Header fields that only some responses with a status have."""


def inline_types(node: Any) -> set[str]:
    """Return the names, in lower case, of the fields that have an inline enum or object.

    A field is a property of a schema, or a parameter.
    """
    if isinstance(node, list):
        return {name for part in node for name in inline_types(part)}
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
    return found | inline_types(list(node.values()))


def _is_inline_type(schema: dict[str, Any]) -> bool:
    if schema.keys() & {"enum", "const", "properties"}:
        return True
    parts = [*schema.get("anyOf", []), *schema.get("oneOf", []), *schema.get("allOf", [])]
    if "items" in schema:
        parts.append(schema["items"])
    return any(_is_inline_type(part) for part in parts)


def documented_response(operation_id: str, response: Response) -> dict[str, Any]:
    """Check status, content type and headers of a response.

    Returns the part of the document that describes it.
    """
    responses: dict[str, dict[str, Any]] = OPERATIONS[operation_id].description["responses"]
    assert str(response.status) in responses, (operation_id, response)
    documented = responses[str(response.status)]
    names = {name.lower() for name in documented.get("headers", {})}
    assert names - OPTIONAL_HEADERS <= set(response.headers) - COMMON_HEADERS <= names
    assert list(documented.get("content", {})) == (
        [response.headers["content-type"]] if response.body else []
    )
    return documented


def example_of(part: dict[str, Any]) -> dict[str, Any]:
    """A JSON object made of the examples of the fields in a request or response body."""
    reference: str = part["content"]["application/json"]["schema"]["$ref"]
    fields = SCHEMAS[reference.removeprefix("#/components/schemas/")]["properties"]
    return {name: field["examples"][0] for name, field in fields.items()}


def request_for(operation_id: str, item_id: str) -> dict[str, Any]:
    """The request to an item that the examples of an operation make."""
    operation = OPERATIONS[operation_id]
    path = operation.path.replace("{id}", item_id)
    request: dict[str, Any] = {"method": operation.method, "path": path, "user": "alice"}
    if operation.has_body:
        request["json"] = example_of(operation.description["requestBody"])
    return request


def request_to_new_item(call: Api, operation_id: str) -> dict[str, Any]:
    """The same to a new item, with references to new items in place of those of the examples."""
    caller = _examples_user(call)
    operation = OPERATIONS[operation_id]
    body = {option: "example" for option in operation.options if option.place == "body"}
    new = caller.own(operation_id, operation, body)
    request = request_for(operation_id, "".join(new.ids))
    if operation.has_body:
        request["json"] = {option.name: value for option, value in new.values.items()}
    return request


def new_referenced_item(call: Api, operation_id: str) -> str | None:
    """The ID of a new item that this operation is about and another refers to, if any can."""
    caller = _examples_user(call)
    collection = OPERATIONS[operation_id].path.partition("/{id}")[0]
    for operation in caller.operations:
        if operation.method == "POST" and not operation.ids and operation.path != collection:
            caller.create(operation, operation.path)
    ids = [str(item.id) for item in caller.items if item.path.startswith(f"{collection}/")]
    return ids[0] if ids else None


def _examples_user(call: Api) -> Caller:
    return Caller(call, "alice", list(OPERATIONS.values()))


def without_generated_values(value: dict[str, Any]) -> Any:
    """A JSON object with a placeholder for each ID, time, entity tag and cursor."""
    request_id = {"request_id": "*"} if "request_id" in value else {}
    return json.loads(pages.without_generated_values(json.dumps(value | request_id)))
