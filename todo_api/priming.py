"""What Lambda SnapStart keeps in a snapshot, so that the first request after a restore is as fast as the next."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import combinations
from typing import Any
from uuid import UUID

from fastapi import FastAPI

from todo_api.credentials import parameter_store
from todo_api.models import Cursor

TODO = f"/v1/todos/{UUID(int=0)}"
FIELDS = {"title": "x", "description": "x", "is_completed": True}


def prime(app: FastAPI, handler: Callable[[Any, Any], object]) -> None:
    """Let the handler answer requests of each kind, without a database.

    That imports all that is imported late, builds the engine and compiles the statements. Nothing connects, for a
    snapshot keeps no connection; nor is the connection string read, for it may be another one after the restore.
    """
    if app.state.settings.neon_database_url is None:
        parameter_store()
    logging.disable()  # each of these requests fails, as it should
    with app.state.database.rehearsal():
        for event in _events():
            handler(event, None)
    logging.disable(logging.NOTSET)


def _events() -> Iterator[dict[str, Any]]:
    """Requests that make every usual statement. A rare one is left out here, and compiled when it comes."""
    yield _event("GET", "/ready")
    yield _event("POST", "/v1/todos", FIELDS)
    yield _event("GET", TODO)
    for is_completed in (None, False, True):
        place = Cursor(datetime.now(UTC), UUID(int=0), is_completed)
        chosen = "" if is_completed is None else f"is_completed={is_completed}&".lower()
        yield _event("GET", f"/v1/todos?{chosen}limit=1")
        yield _event("GET", f"/v1/todos?{chosen}cursor={place}")
    for entity_tag in ("", '"1"'):
        yield _event("PUT", TODO, FIELDS, entity_tag)
        yield _event("DELETE", TODO, None, entity_tag)
        yield _event("POST", f"{TODO}/toggle", None, entity_tag)
        for count in range(1, len(FIELDS) + 1):
            for names in combinations(FIELDS, count):
                yield _event("PATCH", TODO, {name: FIELDS[name] for name in names}, entity_tag)


def _event(method: str, path: str, body: Mapping[str, Any] | None = None, entity_tag: str = "") -> dict[str, Any]:
    """An event of an HTTP API, as much of it as is read, from a user who is known in either mode."""
    path, _, query = path.partition("?")
    headers = {"content-type": "application/json", "x-user-id": "nobody"}
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers | {"if-match": entity_tag} if entity_tag else headers,
        "requestContext": {
            "stage": "$default",
            "http": {"method": method, "path": path, "sourceIp": "127.0.0.1"},
            "authorizer": {"jwt": {"claims": {"sub": "nobody"}}},
        },
        "body": json.dumps(body) if body else None,
        "isBase64Encoded": False,
    }
