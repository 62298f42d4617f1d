"""The OpenAPI document: its operations, and requests made of its examples."""

import json
from typing import Any

from dev import ROOT
from tests.support.documents.operations import Operation, operations_in
from tests.support.documents.walk import Caller
from tests.support.http.clients import Api

PATH = ROOT / "docs/openapi.json"
DOCUMENT: dict[str, Any] = json.loads(PATH.read_text())
SCHEMAS: dict[str, dict[str, Any]] = DOCUMENT["components"]["schemas"]

OPERATIONS: dict[str, Operation] = {
    operation.name: operation for operation in operations_in(DOCUMENT)
}
"""Each operation, by `operationId`."""


def body_example(part: dict[str, Any]) -> dict[str, Any]:
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
        request["json"] = body_example(operation.description["requestBody"])
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
