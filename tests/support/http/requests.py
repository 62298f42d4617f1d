"""Requests that no operation answers, or with a value that is refused: without the database."""

from typing import Any
from uuid import uuid4

TODO = f"/v1/todos/{uuid4()}"
PREFLIGHT = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}

WITHOUT_DATABASE: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "path": ("GET", "/v2/todos", {}, 404),
    "method": ("DELETE", "/v1/todos", {}, 405),
    "field": ("PATCH", TODO, {"json": {"title": ""}}, 422),
    "key": (
        "POST",
        "/v1/todos",
        {"json": {"title": "x"}, "headers": {"Idempotency-Key": "a b"}},
        422,
    ),
    "parameter": ("GET", "/v1/todos?limit=0", {}, 422),
    "cursor": ("GET", "/v1/todos?cursor=x", {}, 422),
    "unknown parameter": ("GET", "/v1/todos?x=1", {}, 422),
    "preflight": ("OPTIONS", "/v1/todos", {"headers": PREFLIGHT}, 200),
    "health": ("GET", "/health", {}, 200),
}
"""Method, path and arguments of `Api`, and the status."""
