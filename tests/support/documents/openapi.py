"""The OpenAPI document: its operations, and requests made of its examples."""

import json
import re
from typing import Any

from dev import ROOT
from tests.support.documents.operations import Operation, operations_in, path_with
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


def request_for(operation_id: str, *ids: str) -> dict[str, Any]:
    """The request that the examples of an operation make, with these ids in its path."""
    operation = OPERATIONS[operation_id]
    path = path_with(operation.path, ids)
    request: dict[str, Any] = {"method": operation.method, "path": path, "user": "alice"}
    if operation.has_body:
        request["json"] = body_example(operation.description["requestBody"])
    return request


def request_to_new_item(call: Api, operation_id: str) -> dict[str, Any]:
    """The same of a new user to a new item, with references to new items.

    The user is new, because a value of the examples may be unique.
    """
    caller = _caller(call, call.user_id("alice"))
    operation = OPERATIONS[operation_id]
    body = {option: "example" for option in operation.options if option.place == "body"}
    new = caller.own(operation_id, operation, body)
    request = request_for(operation_id, *new.ids) | {"user": caller.user_id}
    for option in new.references:
        request["json"][option.name] = new.values[option]
    return request


def ids_of_referenced_item(call: Api, operation_id: str, user_id: str) -> tuple[str, ...]:
    """The ids in this operation's path for a user's item that another refers to, if any can."""
    caller = _caller(call, user_id)
    collection = OPERATIONS[operation_id].path.rpartition("/{")[0]
    for operation in caller.operations:
        if operation.creates and operation.path != collection:
            parents = caller.create_items_in_path(operation)
            caller.create(operation, operation.path, [str(parent.id) for parent in parents])
    pattern = re.sub(r"{\w+}", "([^/]+)", collection) + "/([^/]+)"
    for item in caller.items:
        found = re.fullmatch(pattern, item.path)
        if found:
            return found.groups()
    return ()


def _caller(call: Api, user_id: str) -> Caller:
    return Caller(call, user_id, list(OPERATIONS.values()))
