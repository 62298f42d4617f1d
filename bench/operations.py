"""The seven operations, in the order of a todo's life, as the events of an HTTP API."""

import json
from typing import Any, NamedTuple

from tests.clients import http_api_event


class Operation(NamedTuple):
    """A request, and the status that answers it."""

    method: str
    path: str
    body: dict[str, Any] | None
    status: int


OPERATIONS = {
    "create": Operation("POST", "/v1/todos", {"title": "Buy milk", "description": "Two of them"}, 201),
    "list": Operation("GET", "/v1/todos", None, 200),
    "retrieve": Operation("GET", "/v1/todos/{id}", None, 200),
    "replace": Operation("PUT", "/v1/todos/{id}", {"title": "Buy oat milk", "is_completed": True}, 200),
    "update": Operation("PATCH", "/v1/todos/{id}", {"title": "Buy bread"}, 200),
    "toggle": Operation("POST", "/v1/todos/{id}/toggle", None, 200),
    "delete": Operation("DELETE", "/v1/todos/{id}", None, 204),
}


def event(name: str, user: str, todo_id: str = "", query: str = "") -> dict[str, Any]:
    """The event of an operation."""
    operation = OPERATIONS[name]
    headers = {"X-User-Id": user}
    body = None
    if operation.body is not None:
        body = json.dumps(operation.body).encode()
        headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    return http_api_event(operation.method, operation.path.format(id=todo_id) + query, headers, body)
