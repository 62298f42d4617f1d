"""CORS in a real browser: a front end on an allowed origin, and on another one."""

import asyncio
import json
import subprocess
from contextlib import closing
from pathlib import Path
from queue import Queue
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.documents.pages import relay
from tests.support.http.apps import app_on
from tests.support.http.clients import Api, Response
from tests.support.machine import CHROMIUM, CHROMIUM_OPTIONS

pytestmark = pytest.mark.slow

PAGE = Path(__file__).with_name("browser.html").read_bytes()
ALLOWED = "http://localhost:3000"
DENIED = "http://denied.example"
BODY_HEADERS = {"cache-control", "content-length", "content-type", "x-request-id"}
"""Header fields of every response with a body that a script can read."""

TODO_HEADERS = BODY_HEADERS | {"etag"}

Seen = dict[str, Any]
"""What a script received in each step: status, headers and body, or the exception's message."""


@pytest.mark.browser
def test_only_scripts_from_an_allowed_origin_can_use_the_api(
    local_api: Api, local_port: int, tmp_path: Path
) -> None:
    received: Queue[Any] = Queue()

    def serve_the_page(method: str, path: str, *, body: bytes | None, **_: object) -> Response:
        if method == "POST":
            received.put(json.loads(body or b""))
            return Response(204, {}, b"")
        return Response(200 if path.startswith("/?") else 404, {"content-type": "text/html"}, PAGE)

    def call_without_database(*request: Any, **parts: Any) -> Response:
        uri = "postgresql://nobody@127.0.0.1:1/none"
        call = app_on(uri, cors_origins=ALLOWED, database_timeout_seconds=0.1)
        # Mangum would make a loop for this thread, and not close it.
        with closing(asyncio.new_event_loop()) as loop:
            asyncio.set_event_loop(loop)
            return call(*request, **parts)

    with relay(call_without_database) as broken, relay(serve_the_page) as server:
        address = server.url.removeprefix("http://")
        rules = (
            f"--host-resolver-rules=MAP localhost:3000 {address}, MAP denied.example:80 {address}"
        )
        query = {
            "api": f"http://127.0.0.1:{local_port}",
            "withoutDatabase": broken.url,
            "denied": DENIED,
        }
        profile = f"--user-data-dir={tmp_path}"
        url = f"{ALLOWED}/?{urlencode(query)}"
        with subprocess.Popen([str(CHROMIUM), *CHROMIUM_OPTIONS, rules, profile, url]) as browser:
            try:
                reports = dict(received.get(timeout=120) for _ in range(2))
            finally:
                browser.terminate()
    steps = ["create", "list", "health", "ready without database"]
    assert reports[DENIED] == dict.fromkeys(steps, "TypeError: Failed to fetch")
    items = local_api("GET", "/v1/todos", user="browser").json()["items"]
    assert [todo["title"] for todo in items] == ["Another"]  # and not "Intruder"
    _assert_every_operation_works(reports[ALLOWED])
    _assert_errors_are_readable(reports[ALLOWED])


def _problem(seen: Any) -> tuple[int, str]:
    assert seen["headers"]["content-type"] == "application/problem+json"
    assert seen["body"]["request_id"] == seen["headers"]["x-request-id"]
    return seen["status"], seen["body"]["type"].removeprefix("urn:todo-api:problem:")


def _assert_every_operation_works(seen: Seen) -> None:
    statuses = {
        step: result["status"] if isinstance(result, dict) else result
        for step, result in seen.items()
    }
    assert statuses == {
        **dict.fromkeys(["create", "create again", "create another"], 201),
        **dict.fromkeys(["first page", "second page", "retrieve", "retrieve again"], 200),
        **dict.fromkeys(["replace", "update", "toggle"], 200),
        **dict.fromkeys(["retrieve as another user", "retrieve deleted"], 404),
        "delete": 204,
        "retrieve with tag": 304,
        "replace with old tag": 412,
        "update with blank title": 422,
        "list without database": 503,
    }
    todo = seen["create"]["body"]
    another = seen["create another"]["body"]
    sent = {"title": "Grüße 🌱", "description": None, "is_completed": False}
    assert todo | sent | {"user_id": "browser"} == todo
    assert seen["create"]["headers"]["location"] == f"/v1/todos/{todo['id']}"
    assert seen["create"]["headers"].keys() == TODO_HEADERS | {"location"}
    assert seen["create again"]["headers"].keys() == TODO_HEADERS | {
        "location",
        "idempotency-replayed",
    }
    assert seen["create again"]["body"] == seen["retrieve"]["body"] == todo
    assert seen["retrieve"]["headers"]["etag"] == seen["create"]["headers"]["etag"]
    assert seen["first page"]["body"]["items"] == [another]
    assert seen["first page"]["headers"].keys() == BODY_HEADERS
    assert seen["second page"]["body"] == {"items": [todo], "next_cursor": None}
    assert seen["retrieve with tag"]["body"] is None
    assert seen["retrieve with tag"]["headers"]["etag"] == seen["create"]["headers"]["etag"]
    assert seen["replace"]["body"]["title"] == "New"
    assert seen["update"]["body"] == seen["replace"]["body"] | {
        "description": "Two",
        "updated_at": seen["update"]["body"]["updated_at"],
        "etag": seen["update"]["headers"]["etag"],
    }
    assert seen["toggle"]["body"]["is_completed"] is True
    assert seen["toggle"]["headers"].keys() == TODO_HEADERS
    assert seen["retrieve again"]["body"] == seen["toggle"]["body"]  # not from the browser cache
    assert seen["delete"]["headers"].keys() == {"cache-control", "x-request-id"}


def _assert_errors_are_readable(seen: Seen) -> None:
    assert _problem(seen["replace with old tag"]) == (412, "precondition-failed")
    assert _problem(seen["update with blank title"]) == (422, "invalid-request")
    assert seen["update with blank title"]["body"]["errors"] == [
        {"in": "body", "field": "title", "detail": "Must not be blank"}
    ]
    assert _problem(seen["retrieve as another user"]) == (404, "todo-not-found")
    assert _problem(seen["retrieve deleted"]) == (404, "todo-not-found")
    unavailable = seen["list without database"]
    assert _problem(unavailable) == (503, "database-unavailable:not-executed")
    assert unavailable["headers"].keys() == BODY_HEADERS | {"retry-after"}
    assert unavailable["headers"]["retry-after"] == "1"
    assert unavailable["headers"]["x-request-id"] == "from-a-browser"
