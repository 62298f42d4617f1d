"""CORS in a real browser: a front end on an allowed origin, and on another one."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.clients import Api, through_http
from tests.support.machine import CHROMIUM
from tests.support.servers import free_port, start_server

PAGE = Path(__file__).with_name("browser.html").read_bytes()
BODY_HEADERS = {"cache-control", "content-length", "content-type", "x-request-id"}
"""Header fields of every response with a body that a script can read."""

TODO_HEADERS = BODY_HEADERS | {"etag"}


class Pages(BaseHTTPRequestHandler):
    """Serve the page, and receive the reports of its script."""

    reports: Queue[Any] = Queue()

    def do_GET(self) -> None:
        self.send_response(200 if self.path.startswith("/?") else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def do_POST(self) -> None:
        self.reports.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
        """Do not write to stderr."""


OPTIONS = [
    "--headless",
    "--no-sandbox",  # Chromium has no sandbox for root
    "--disable-gpu",
    "--disable-dev-shm-usage",  # too small in containers
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

Seen = dict[str, Any]
"""What a script received in each step: status, headers and body, or the message of the exception."""


@pytest.fixture
def ports(environment: dict[str, str]) -> Iterator[tuple[int, int, int]]:
    """The ports of a local server, of one without a database, and of the page whose origin both allow."""
    healthy, broken, page = free_port(), free_port(), free_port()
    settings = environment | {"CORS_ORIGINS": f"http://127.0.0.1:{page}"}
    unreachable = {
        "NEON_DATABASE_URL": f"postgresql://a:b@127.0.0.1:{free_port()}/c",
        "DATABASE_TIMEOUT_SECONDS": "0.1",
    }
    with ThreadPoolExecutor() as pool:
        servers = list(pool.map(start_server, [healthy, broken], [settings, settings | unreachable]))
    yield healthy, broken, page
    for server in servers:
        server.terminate()
    for server in servers:
        server.wait()


@pytest.mark.browser
def test_only_scripts_from_an_allowed_origin_can_use_the_api(ports: tuple[int, int, int]) -> None:
    healthy, broken, port = ports
    allowed, denied = f"http://127.0.0.1:{port}", f"http://localhost:{port}"
    api, without_database = f"http://127.0.0.1:{healthy}", f"http://127.0.0.1:{broken}"
    query = urlencode({"api": api, "withoutDatabase": without_database, "denied": denied})
    with (
        ThreadingHTTPServer(("127.0.0.1", port), Pages) as server,
        TemporaryDirectory(prefix="todo-api-chromium-", ignore_cleanup_errors=True) as profile,
    ):
        Thread(target=server.serve_forever).start()
        command = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={profile}", f"{allowed}/?{query}"]
        with subprocess.Popen(command) as browser:
            try:
                reports = dict(Pages.reports.get(timeout=120) for _ in range(2))
            finally:
                browser.terminate()
                server.shutdown()
    steps = ["create", "list", "health", "ready without database"]
    assert reports[denied] == dict.fromkeys(steps, "TypeError: Failed to fetch")
    items = Api(through_http(healthy))("GET", "/v1/todos", user="browser").json()["items"]
    assert [todo["title"] for todo in items] == ["Another"]  # and not "Intruder"
    _assert_every_operation_works(reports[allowed])
    _assert_errors_are_readable(reports[allowed])


def _problem(seen: Any) -> tuple[int, str]:
    assert seen["headers"]["content-type"] == "application/problem+json"
    assert seen["body"]["request_id"] == seen["headers"]["x-request-id"]
    return seen["status"], seen["body"]["type"].removeprefix("urn:todo-api:problem:")


def _assert_every_operation_works(seen: Seen) -> None:
    assert {step: result["status"] if isinstance(result, dict) else result for step, result in seen.items()} == {
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
    todo, another = seen["create"]["body"], seen["create another"]["body"]
    assert todo | {"title": "Grüße 🌱", "description": None, "is_completed": False, "user_id": "browser"} == todo
    assert seen["create"]["headers"]["location"] == f"/v1/todos/{todo['id']}"
    assert seen["create"]["headers"].keys() == TODO_HEADERS | {"location"}
    assert seen["create again"]["headers"].keys() == TODO_HEADERS | {"location", "idempotency-replayed"}
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
