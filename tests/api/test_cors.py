"""Headers of every response, and CORS.

Which origins may call the API, what they may send, and what they may read.
"""

import re
from typing import Any
from unittest.mock import Mock

import pytest

from dev import ROOT
from tests.support.documents.openapi import OPERATIONS
from tests.support.http.clients import Api, Response
from tests.support.http.stage import ORIGINS
from tests.support.http.users import User
from todo_api.database.engine import Database
from todo_api.database.errors import DatabaseUnavailable
from todo_api.database.readiness import NotReady

DENIED = [
    "https://evil.example",
    "http://app.example",
    "https://app.example.evil",
    "https://app.example:444",
    "null",
]
ORIGINS_TO_TRY = [
    *(pytest.param(origin, marks=pytest.mark.smoke) for origin in ORIGINS[:1]),
    *ORIGINS[1:],
    *DENIED,
]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
HEADERS = [
    "Content-Type",
    "X-User-Id",
    "Authorization",
    "If-Match",
    "If-None-Match",
    "Idempotency-Key",
    "X-Request-Id",
    *("traceparent", "tracestate", "baggage", "sentry-trace"),
]
SAFELISTED = {"Accept", "Accept-Language", "Content-Language"}
"""Starlette always allows these too; browsers do not ask for them."""

READABLE = {
    "access-control-expose-headers": (
        "ETag, Location, X-Request-Id, Retry-After, Idempotency-Replayed"
    ),
    "vary": "Origin",
}
COMMON = {"x-content-type-options": "nosniff", "cache-control": "private, no-cache"}
ALL = "/v1/todos"
ONE = "/v1/todos/00000000-0000-4000-8000-000000000000"

Sent = tuple[str, str, dict[str, Any]]


def _cors_headers(response: Response) -> dict[str, str]:
    return {
        name: text
        for name, text in response.headers.items()
        if name.startswith("access-control-") or name == "vary"
    }


def _allow_origin(origin: str) -> dict[str, str]:
    return {"access-control-allow-origin": origin} if origin in ORIGINS else {}


def _kind(response: Response) -> tuple[int, str]:
    """Return the status and the problem type, which is empty for a success."""
    is_problem = response.headers.get("content-type") == "application/problem+json"
    return response.status, response.json()["type"].removeprefix(
        "urn:todo-api:problem:"
    ) if is_problem else ""


def _requests(one: str, etag: str) -> dict[tuple[int, str], Sent]:
    """Return a request for each kind of response, except those in `BROKEN`."""
    key = {"Idempotency-Key": "once"}
    return {
        (200, ""): ("GET", one, {}),
        (304, ""): ("GET", one, {"headers": {"If-None-Match": etag}}),
        (201, ""): ("POST", ALL, {"json": {"title": "x"}, "headers": key}),
        (400, "malformed-body"): ("POST", ALL, {"body": "{"}),
        (404, "path-not-found"): ("GET", "/nowhere", {}),
        (404, "todo-not-found"): ("GET", ONE, {}),
        (405, "method-not-allowed"): ("DELETE", ALL, {}),
        (412, "precondition-failed"): (
            "PUT",
            one,
            {"json": {"title": "x"}, "headers": {"If-Match": '"1"'}},
        ),
        (413, "body-too-large"): ("POST", ALL, {"body": b"x" * 70_000}),
        (415, "unsupported-media-type"): (
            "POST",
            ALL,
            {"body": "{}", "headers": {"Content-Type": "text/plain"}},
        ),
        (422, "invalid-request"): ("GET", f"{ALL}?x=1", {}),
        (422, "idempotency-key-reused"): ("POST", ALL, {"json": {"title": "y"}, "headers": key}),
        (204, ""): ("DELETE", one, {}),
        # Last, because it skips the rest of a test of a stage with an authorizer.
        (401, "not-identified"): ("GET", ONE, {"headers": {"X-User-Id": ""}}),
    }


BROKEN = {
    (500, "internal-error"): RuntimeError(),
    (503, "database-unavailable:not-executed"): DatabaseUnavailable(
        may_have_run=False, phase="connect", reason=""
    ),
    (504, "database-unavailable:outcome-unknown"): DatabaseUnavailable(
        may_have_run=True, phase="execute", reason=""
    ),
    (503, "not-ready"): NotReady(),
}
"""The exception that causes each kind of response that no request can cause."""


def test_requests_cover_every_error_of_the_specification() -> None:
    specification = (ROOT / "docs/specification/api.md").read_text()
    rows = re.findall(r"^\| (\d{3}) \| `([a-z:-]+)` \|", specification, re.M)
    kinds = {kind for kind in [*_requests("", ""), *BROKEN] if kind[1]}
    assert {(int(status), name) for status, name in rows} == kinds


@pytest.mark.parametrize("origin", ORIGINS_TO_TRY)
def test_every_response_is_readable_by_configured_origins_only(alice: User, origin: str) -> None:
    etag = alice("GET", alice.first_path).headers["etag"]
    for kind, (method, path, request) in _requests(alice.first_path, etag).items():
        response = alice(
            method, path, **request | {"headers": {"Origin": origin} | request.get("headers", {})}
        )
        assert _kind(response) == kind
        assert _cors_headers(response) == READABLE | _allow_origin(origin), kind
        assert response.headers.items() >= COMMON.items()
        assert response.headers["x-request-id"]


@pytest.mark.parametrize("origin", ORIGINS_TO_TRY)
def test_500_503_and_504_are_readable_by_configured_origins_only(
    lambda_api: Api, monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    for kind, error in BROKEN.items():
        monkeypatch.setattr(Database, "session", Mock(side_effect=error))
        response = lambda_api("GET", "/ready", headers={"Origin": origin})
        assert _kind(response) == kind
        assert _cors_headers(response) == READABLE | _allow_origin(origin)
        assert response.headers.items() >= COMMON.items()


def _preflight(api: Api, origin: str, method: str, path: str, headers: str) -> Response:
    requested = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return api("OPTIONS", path, headers={"Origin": origin, **requested})


@pytest.mark.parametrize("origin", ORIGINS_TO_TRY)
def test_preflight_is_granted_to_configured_origins_only(either_api: Api, origin: str) -> None:
    """Preflight responses list all methods and headers, for ten minutes, and no credentials."""
    requested = ",".join(sorted(HEADERS)).lower()
    for operation in OPERATIONS.values():
        response = _preflight(either_api, origin, operation.method, operation.path, requested)
        headers = _cors_headers(response)
        assert headers.pop("access-control-allow-methods").split(", ") == METHODS
        assert set(headers.pop("access-control-allow-headers").split(", ")) == {
            *HEADERS,
            *SAFELISTED,
        }
        assert "Origin" in headers.pop("vary").split(", ")
        assert headers.pop("access-control-max-age") == "600"
        assert headers == _allow_origin(origin)
        assert response.status == (200 if origin in ORIGINS else 400)
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        # Starlette's CORS middleware responds before the ID is added.
        assert "x-request-id" not in response.headers


@pytest.mark.parametrize("origin", ORIGINS[:1])  # which may be empty
@pytest.mark.parametrize(("method", "header"), [("TRACE", "x-user-id"), ("GET", "x-other")])
def test_preflight_for_an_unsupported_method_or_header_is_denied(
    either_api: Api, origin: str, method: str, header: str
) -> None:
    assert _preflight(either_api, origin, method, ALL, header).status == 400
