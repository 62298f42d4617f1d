"""Requests that cause each status of the document, for every operation."""

from typing import Any
from uuid import uuid4

from tests.support.documents.openapi import (
    OPERATIONS,
    ids_of_referenced_item,
    request_to_new_item,
)
from tests.support.documents.operations import path_with
from tests.support.http.clients import Api

CHANGES: dict[int, dict[str, Any]] = {
    304: {"headers": {"If-None-Match": "*"}},
    400: {"body": '{"title"'},
    401: {"user": None},
    404: {"path": str(uuid4())},
    409: {},  # another item refers to this one
    412: {"headers": {"If-Match": '"1"'}},
    413: {"body": " " * 65_537},
    415: {"headers": {"Content-Type": "text/plain"}},
    422: {"path": "not-a-uuid"},
}
"""The change to an example request that causes each status. No request causes 500, 503 or 504."""

BEFORE_THE_DATABASE = (400, 401, 413, 415, 422)
"""The statuses of these changes that need no statement."""


def request_that_causes(status: int, call: Api, operation_id: str) -> dict[str, Any]:
    """Return the request to a new item with the change that causes a status.

    It causes another status if the document does not list this one for the operation.
    """
    operation = OPERATIONS[operation_id]
    change = CHANGES[status]
    request = request_to_new_item(call, operation_id) | change
    if "body" in change:
        request.pop("json", None)
    if "path" in change:
        ids = [change["path"]] * len(operation.ids)
        request["path"] = path_with(operation.path, ids)
    if status == 409:
        referenced = ids_of_referenced_item(call, operation_id, request["user"])
        if referenced:
            request["path"] = path_with(operation.path, referenced)
    if status == 422 and not operation.ids:
        if "json" in request:
            request["json"] = {"unknown": 1}
        else:
            request["path"] += "?x=1"
    return request
