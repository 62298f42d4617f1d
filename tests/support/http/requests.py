"""Requests of every kind and their expected status: some use the database, the others do not."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from tests.support.http.users import User

Request = tuple[str, str, dict[str, Any], int]  # method, path, arguments of `Api`, status
Send = Callable[[Request], None]

X: dict[str, Any] = {"json": {"title": "x"}}
USED_KEY: dict[str, Any] = {"headers": {"Idempotency-Key": "used"}}
STALE: dict[str, Any] = {"headers": {"If-Match": '"1"'}}
PREFLIGHT: dict[str, Any] = {
    "headers": {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
}

ON_THE_DATABASE: dict[str, Request] = {
    "create": ("POST", "/v1/todos", X, 201),
    "create with a key": (
        "POST",
        "/v1/todos",
        X | {"headers": {"Idempotency-Key": "counted"}},
        201,
    ),
    "create, retried": ("POST", "/v1/todos", X | USED_KEY, 201),
    "create with a used key": ("POST", "/v1/todos", {"json": {"title": "y"}} | USED_KEY, 422),
    "create by a new user": ("POST", "/v1/todos", X | {"user": "new-{id}"}, 201),
    "list": ("GET", "/v1/todos?limit=1", {}, 200),
    "list, filtered": ("GET", "/v1/todos?is_completed=true", {}, 200),
    "retrieve": ("GET", "/v1/todos/{id}", {}, 200),
    "retrieve, missing": ("GET", f"/v1/todos/{uuid4()}", {}, 404),
    "replace": ("PUT", "/v1/todos/{id}", X, 200),
    "retrieve, not modified": ("GET", "/v1/todos/{id}", {"headers": {"If-None-Match": "*"}}, 304),
    "replace, missing": ("PUT", f"/v1/todos/{uuid4()}", X, 404),
    "update": ("PATCH", "/v1/todos/{id}", X, 200),
    "update without fields": ("PATCH", "/v1/todos/{id}", {"json": {}}, 200),
    "update of this version": (
        "PATCH",
        "/v1/todos/{id}",
        X | {"headers": {"If-Match": "{tag}"}},
        200,
    ),
    "update of another version": ("PATCH", "/v1/todos/{id}", X | STALE, 412),
    "toggle of another version": ("POST", "/v1/todos/{id}/toggle", STALE, 412),
    "delete of another version": ("DELETE", "/v1/todos/{id}", STALE, 412),
    "toggle": ("POST", "/v1/todos/{id}/toggle", {}, 200),
    "delete": ("DELETE", "/v1/todos/{id}", {}, 204),
    "ready": ("GET", "/ready", {}, 200),
}

REFUSED: dict[str, Request] = {
    "path": ("GET", "/v2/todos", {}, 404),
    "method": ("DELETE", "/v1/todos", {}, 405),
    "size": ("POST", "/v1/todos", {"body": b"x" * 65_537}, 413),
    "type": ("POST", "/v1/todos", {"body": b"{}", "headers": {"Content-Type": "text/plain"}}, 415),
    "body": ("POST", "/v1/todos", {"body": b"{"}, 400),
    "no user": ("GET", "/v1/todos", {"user": ""}, 401),
    "no user, one todo": ("DELETE", "/v1/todos/{id}", {"user": ""}, 401),
    "field": ("PATCH", "/v1/todos/{id}", {"json": {"title": ""}}, 422),
    "id": ("GET", "/v1/todos/1", {}, 422),
    "key": ("POST", "/v1/todos", X | {"headers": {"Idempotency-Key": "a b"}}, 422),
    "parameter": ("GET", "/v1/todos?limit=0", {}, 422),
    "cursor": ("GET", "/v1/todos?cursor=x", {}, 422),
    "unknown parameter": ("GET", "/v1/todos?x=1", {}, 422),
    "preflight": ("OPTIONS", "/v1/todos", PREFLIGHT, 200),
    "health": ("GET", "/health", {}, 200),
}


def sender(user: User) -> Send:
    """Return a function that sends a request of the tables above, for the user's first todo."""
    assert user("POST", "/v1/todos", **X, **USED_KEY).status == 201
    todo_id, tag = user.todos[0]["id"], user.todos[0]["etag"]

    def send(request: Request) -> None:
        method, path, arguments, status = request
        caller = arguments.get("user", user.id).format(id=todo_id)
        headers = {
            name: value.format(tag=tag) for name, value in arguments.get("headers", {}).items()
        }
        changed = {"user": caller, "headers": headers}
        response = user.api(method, path.format(id=todo_id), **arguments | changed)
        assert response.status == status, response

    return send
