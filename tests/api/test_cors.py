"""Cross-origin requests: which origins may call, what they may send, and what they may read."""

import re
from typing import Any

import pytest
from psycopg2.extensions import parse_dsn

from tests.support.apps import app_on
from tests.support.clients import Api, Response
from tests.support.machine import ROOT
from tests.support.proxy import FaultyProxy
from tests.support.servers import free_port
from tests.support.users import User
from todo_api.database import repository

pytestmark = pytest.mark.pooled

ALLOWED = ["https://app.example", "http://localhost:3000"]
DENIED = ["https://evil.example", "http://app.example", "https://app.example.evil", "https://app.example:444", "null"]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
HEADERS = ["Content-Type", "X-User-Id", "Authorization", "If-Match", "If-None-Match", "Idempotency-Key", "X-Request-Id"]
SAFELISTED = {"Accept", "Accept-Language", "Content-Language"}
"""Starlette names these as well. Browsers do not ask for them."""

READABLE = {
    "access-control-expose-headers": "ETag, Location, X-Request-Id, Retry-After, Idempotency-Replayed",
    "vary": "Origin",
}
ONE = "/v1/todos/00000000-0000-4000-8000-000000000000"
OPERATIONS = [
    ("POST", "/v1/todos"),
    ("GET", "/v1/todos"),
    ("GET", ONE),
    ("PUT", ONE),
    ("PATCH", ONE),
    ("DELETE", ONE),
    ("POST", f"{ONE}/toggle"),
    ("GET", "/health"),
    ("HEAD", "/health"),
    ("GET", "/ready"),
]

Sent = tuple[str, str, dict[str, Any]]


def _of_cors(answer: Response) -> dict[str, str]:
    """The header fields that a browser decides by."""
    return {name: text for name, text in answer.headers.items() if name.startswith("access-control-") or name == "vary"}


def _readable_by(origin: str) -> dict[str, str]:
    return READABLE | ({"access-control-allow-origin": origin} if origin in ALLOWED else {})


def _kind(answer: Response) -> tuple[int, str]:
    """The status, and the problem that it stands for."""
    problem = answer.headers.get("content-type") == "application/problem+json"
    return answer.status, answer.json()["type"].removeprefix("urn:todo-api:problem:") if problem else ""


def _requests(one: str, tag: str) -> dict[tuple[int, str], Sent]:
    """A request for each answer there is, but for those that need a broken service."""
    return {
        (200, ""): ("GET", one, {}),
        (304, ""): ("GET", one, {"headers": {"If-None-Match": tag}}),
        (201, ""): ("POST", "/v1/todos", {"json": {"title": "x"}, "headers": {"Idempotency-Key": "once"}}),
        (400, "malformed-body"): ("POST", "/v1/todos", {"body": "{"}),
        (401, "not-identified"): ("GET", one, {"headers": {"X-User-Id": ""}}),
        (404, "path-not-found"): ("GET", "/nowhere", {}),
        (404, "todo-not-found"): ("GET", ONE, {}),
        (405, "method-not-allowed"): ("DELETE", "/v1/todos", {}),
        (412, "precondition-failed"): ("PUT", one, {"json": {"title": "x"}, "headers": {"If-Match": '"1"'}}),
        (413, "body-too-large"): ("POST", "/v1/todos", {"body": b"x" * 70_000}),
        (415, "unsupported-media-type"): (
            "POST",
            "/v1/todos",
            {"body": "{}", "headers": {"Content-Type": "text/plain"}},
        ),
        (422, "invalid-request"): ("GET", "/v1/todos?x=1", {}),
        (422, "idempotency-key-reused"): (
            "POST",
            "/v1/todos",
            {"json": {"title": "y"}, "headers": {"Idempotency-Key": "once"}},
        ),
        (204, ""): ("DELETE", one, {}),
    }


BROKEN = {
    (500, "internal-error"),
    (503, "database-unavailable:not-executed"),
    (503, "database-unavailable:outcome-unknown"),
    (503, "not-ready"),
}


def test_the_matrix_has_every_error_of_the_specification() -> None:
    """Proves that the requests above and below are all that the table of errors knows."""
    specification = (ROOT / "docs" / "specification.md").read_text()
    errors = {
        (int(status), name) for status, name in re.findall(r"^\| (\d{3}) \| `([a-z:-]+)` \|", specification, re.M)
    }
    assert errors == {kind for kind in _requests("", "") if kind[1]} | BROKEN


@pytest.mark.parametrize("origin", [*ALLOWED, *DENIED])
def test_each_answer_can_be_read_by_configured_origins_only(alice: User, origin: str) -> None:
    """Proves the same CORS header on every status, errors included."""
    one = f"/v1/todos/{alice.todos[0]['id']}"
    tag = alice("GET", one).headers["etag"]
    for kind, (method, path, request) in _requests(one, tag).items():
        answer = alice(method, path, **request | {"headers": {"Origin": origin} | request.get("headers", {})})
        assert _kind(answer) == kind
        assert _of_cors(answer) == _readable_by(origin), kind


@pytest.mark.parametrize("origin", [*ALLOWED, *DENIED])
def test_a_broken_service_can_be_read_by_configured_origins_only(
    database: str, monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    """Proves the same CORS header on 500 and on each 503, where a front end needs `Retry-After` most."""
    parts = parse_dsn(database)
    proxy = FaultyProxy(int(parts["port"]))
    uri = "postgresql://{user}:{password}@127.0.0.1:{port}/{dbname}"
    answers = []
    with app_on(uri.format(**parts | {"port": str(proxy.port)}), cors_origins=",".join(ALLOWED)) as call:
        proxy.trouble = "reset before the query"
        answers.append(call("POST", f"{ONE}/toggle", user="x", headers={"Origin": origin}))
        proxy.trouble = ""
        with monkeypatch.context() as patch:
            patch.setattr(repository, "SCHEMA_REVISION", "9999")
            answers.append(call("GET", "/ready", headers={"Origin": origin}))
        with monkeypatch.context() as patch:
            patch.delattr(repository.TodoRepository, "list")
            answers.append(call("GET", "/v1/todos", user="x", headers={"Origin": origin}))
    nowhere = uri.format(**parts | {"port": str(free_port())})
    with app_on(nowhere, cors_origins=",".join(ALLOWED), database_timeout_seconds=0.1) as call:
        answers.append(call("GET", "/v1/todos", user="x", headers={"Origin": origin}))
    assert {_kind(answer) for answer in answers} == BROKEN
    assert [_of_cors(answer) for answer in answers] == [_readable_by(origin)] * 4


@pytest.mark.parametrize("origin", [*ALLOWED, *DENIED])
def test_each_operation_s_preflight_is_granted_to_configured_origins_only(either_api: Api, origin: str) -> None:
    """Proves what a preflight is told: its origin, every method and header, no credentials, for ten minutes."""
    for method, path in OPERATIONS:
        answer = _preflight(either_api, origin, method, path, ",".join(sorted(HEADERS)).lower())
        told = _of_cors(answer)
        assert told.pop("access-control-allow-methods").split(", ") == METHODS
        assert set(told.pop("access-control-allow-headers").split(", ")) == {*HEADERS, *SAFELISTED}
        assert "Origin" in told.pop("vary").split(", ")
        assert told.pop("access-control-max-age") == "600"
        assert told == ({"access-control-allow-origin": origin} if origin in ALLOWED else {})
        assert answer.status == (200 if origin in ALLOWED else 400)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert "x-request-id" not in answer.headers  # the middleware that answers it knows no requests


@pytest.mark.parametrize(("method", "header"), [("TRACE", "x-user-id"), ("GET", "x-other")])
def test_a_preflight_for_more_than_there_is_is_denied(either_api: Api, method: str, header: str) -> None:
    """Proves that methods and headers which the API does not use are not granted."""
    assert _preflight(either_api, ALLOWED[0], method, "/v1/todos", header).status == 400


def _preflight(way: Api, origin: str, method: str, path: str, headers: str) -> Response:
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return way("OPTIONS", path, headers={"Origin": origin, **asked})
