"""Cross-origin requests: which origins may call, what they may send, and what they may read."""

from typing import Any

import pytest

from tests.clients import Answer, Api
from tests.conftest import User

ALLOWED = ["https://app.example", "http://localhost:3000"]
DENIED = ["https://evil.example", "http://app.example", "https://app.example.evil", "https://app.example:444", "null"]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
HEADERS = [
    "Content-Type",
    "X-User-Id",
    "Authorization",
    "If-Match",
    "If-None-Match",
    "Idempotency-Key",
    "X-Request-Id",
]


@pytest.mark.parametrize("origin", ALLOWED)
@pytest.mark.parametrize("method", METHODS)
def test_a_preflight_from_a_configured_origin_is_granted(either_api: Api, origin: str, method: str) -> None:
    """Proves what a preflight is told: its origin, every method and header, no credentials, for ten minutes."""
    answer = _preflight(either_api, origin, method, ", ".join(HEADERS).lower())
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-methods"].split(", ") == METHODS
    assert set(HEADERS) <= set(answer.headers["access-control-allow-headers"].split(", "))
    assert answer.headers["access-control-max-age"] == "600"
    assert "access-control-allow-credentials" not in answer.headers
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("origin", DENIED)
def test_a_preflight_from_any_other_origin_is_denied(either_api: Api, origin: str) -> None:
    """Proves that an origin is compared exactly."""
    answer = _preflight(either_api, origin, "GET", "x-user-id")
    assert answer.status == 400
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(("method", "header"), [("TRACE", "x-user-id"), ("GET", "x-other")])
def test_a_preflight_for_more_than_there_is_is_denied(either_api: Api, method: str, header: str) -> None:
    """Proves that methods and headers which the API does not use are not granted."""
    assert _preflight(either_api, ALLOWED[0], method, header).status == 400


@pytest.mark.parametrize(("origin", "readable"), [(ALLOWED[0], True), (DENIED[0], False)])
def test_errors_can_be_read_like_successes(alice: User, origin: str, *, readable: bool) -> None:
    """Proves that each status carries the same CORS header, for configured origins only."""
    one = f"/v1/todos/{alice.todos[0]['id']}"
    requests: list[tuple[int, str, str, dict[str, Any]]] = [
        (200, "GET", "/health", {}),
        (200, "GET", one, {}),
        (201, "POST", "/v1/todos", {"json": {"title": "x"}}),
        (400, "POST", "/v1/todos", {"body": "{"}),
        (404, "GET", "/nowhere", {}),
        (405, "DELETE", "/v1/todos", {}),
        (413, "POST", "/v1/todos", {"body": b"x" * 70_000}),
        (415, "POST", "/v1/todos", {"body": "{}", "headers": {"Content-Type": "text/plain"}}),
        (422, "GET", f"{one}?x=1", {}),
        (204, "DELETE", one, {}),
        (404, "GET", one, {}),
    ]
    for status, method, path, arguments in requests:
        headers = {"Origin": origin} | arguments.pop("headers", {})
        answer = alice(method, path, headers=headers, **arguments)
        assert answer.status == status
        assert answer.headers["vary"] == "Origin"
        assert answer.headers.get("access-control-allow-origin") == (origin if readable else None)
        exposed = answer.headers["access-control-expose-headers"]
        assert exposed == "ETag, Location, X-Request-Id, Retry-After, Idempotency-Replayed"
    assert alice.api("GET", "/v1/todos", headers={"Origin": origin}).headers.get("access-control-allow-origin") == (
        origin if readable else None
    )


def _preflight(way: Api, origin: str, method: str, headers: str) -> Answer:
    return way(
        "OPTIONS",
        "/v1/todos",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": headers,
        },
    )
