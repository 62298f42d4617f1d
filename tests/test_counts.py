"""What a request costs in connections, statements and round trips: exact numbers."""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from tests.clients import Api
from tests.conftest import User
from tests.test_problems import app_on
from tests.wire import Wire

pytestmark = pytest.mark.pooled

Request = tuple[str, str, dict[str, Any], int]
Send = Callable[[Request], None]

X: dict[str, Any] = {"json": {"title": "x"}}
AGAIN: dict[str, Any] = {"headers": {"Idempotency-Key": "again"}}
STALE: dict[str, Any] = {"headers": {"If-Match": '"1"'}}

ON_THE_DATABASE: dict[str, Request] = {
    "create": ("POST", "/v1/todos", X, 201),
    "create, with a key": ("POST", "/v1/todos", X | {"headers": {"Idempotency-Key": "counted"}}, 201),
    "create, sent again": ("POST", "/v1/todos", X | AGAIN, 201),
    "create, with a used key": ("POST", "/v1/todos", {"json": {"title": "y"}} | AGAIN, 422),
    "create, of a new user": ("POST", "/v1/todos", {"json": {"title": "x"}, "user": "new"}, 201),
    "list": ("GET", "/v1/todos?limit=1", {}, 200),
    "list, filtered": ("GET", "/v1/todos?is_completed=true", {}, 200),
    "retrieve": ("GET", "/v1/todos/{id}", {}, 200),
    "retrieve, missing": ("GET", f"/v1/todos/{uuid4()}", {}, 404),
    "replace": ("PUT", "/v1/todos/{id}", X, 200),
    "retrieve, known": ("GET", "/v1/todos/{id}", {"headers": {"If-None-Match": "*"}}, 304),
    "replace, missing": ("PUT", f"/v1/todos/{uuid4()}", X, 404),
    "update": ("PATCH", "/v1/todos/{id}", X, 200),
    "update, naming nothing": ("PATCH", "/v1/todos/{id}", {"json": {}}, 200),
    "update, in this version": ("PATCH", "/v1/todos/{id}", X | {"headers": {"If-Match": "{tag}"}}, 200),
    "update, in another version": ("PATCH", "/v1/todos/{id}", X | STALE, 412),
    "toggle, in another version": ("POST", "/v1/todos/{id}/toggle", STALE, 412),
    "delete, in another version": ("DELETE", "/v1/todos/{id}", STALE, 412),
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
    "key": ("POST", "/v1/todos", {"json": {"title": "x"}, "headers": {"Idempotency-Key": "a b"}}, 422),
    "parameter": ("GET", "/v1/todos?limit=0", {}, 422),
    "cursor": ("GET", "/v1/todos?cursor=x", {}, 422),
    "unknown parameter": ("GET", "/v1/todos?x=1", {}, 422),
    "preflight": (
        "OPTIONS",
        "/v1/todos",
        {"headers": {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}},
        200,
    ),
    "health": ("GET", "/health", {}, 200),
}


def sender(user: User) -> Send:
    """Sends a request of these tables, about the user's first todo and with the key `again`, which is used here."""
    assert user("POST", "/v1/todos", json={"title": "x"}, headers={"Idempotency-Key": "again"}).status == 201
    tag = user("GET", f"/v1/todos/{user.todos[0]['id']}").headers["etag"]

    def send(request: Request) -> None:
        method, path, arguments, status = request
        caller = {"new": f"new-{user.id}", None: user.id}.get(arguments.get("user"), "")
        headers = {name: value.format(tag=tag) for name, value in arguments.get("headers", {}).items()}
        others = {name: value for name, value in arguments.items() if name not in ("user", "headers")}
        answer = user.api(method, path.format(id=user.todos[0]["id"]), user=caller, headers=headers, **others)
        assert answer.status == status, answer

    return send


@pytest.fixture
def send(carol: User) -> Send:
    """Sends a request of these tables."""
    return sender(carol)


@pytest.mark.parametrize("request_", ON_THE_DATABASE.values(), ids=ON_THE_DATABASE)
def test_an_operation_is_one_connection_one_statement_one_round_trip(
    send: Send, wire: Wire, environment: dict[str, str], request_: Request, *, through_pgbouncer: bool
) -> None:
    """Proves the counts on the wire, and that a bare psycopg2 `connect` and `execute` makes as many round trips."""
    with wire.watch(delay=0.01) as ours:
        send(request_)
    with wire.watch(delay=0.01) as bare:
        connection = psycopg2.connect(environment["NEON_DATABASE_URL"])
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.close()
    assert (ours.connections, len(ours.statements), ours.round_trips) == (1, 1, bare.round_trips)
    assert ours.round_trips == (6 if through_pgbouncer else 5)


@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED)
def test_a_request_that_needs_no_database_opens_no_connection(send: Send, wire: Wire, request_: Request) -> None:
    """Proves that refusals, preflights and /health cost the database nothing."""
    with wire.watch() as traffic:
        send(request_)
    assert (traffic.connections, traffic.statements) == (0, [])


def test_no_connection_is_left_behind(lambda_api: Api, wire: Wire) -> None:
    """Proves that a connection ends with its request."""
    for _ in range(20):
        lambda_api("GET", "/v1/todos", user="anybody")
    deadline = time.monotonic() + 10
    while wire.open and time.monotonic() < deadline:
        time.sleep(0.01)
    assert wire.open == 0


def test_the_first_request_of_a_process_costs_no_more(environment: dict[str, str], wire: Wire) -> None:
    """Proves that a cold start asks the database nothing of its own."""
    with wire.watch() as traffic, app_on(environment["NEON_DATABASE_URL"]) as call:
        assert call("GET", "/v1/todos", user="x").status == 200
    assert (traffic.connections, len(traffic.statements)) == (1, 1)
