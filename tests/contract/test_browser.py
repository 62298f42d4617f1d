"""A real browser: what a front end on another origin can do and see, and what it cannot."""

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
ANSWER = {"cache-control", "content-length", "content-type", "x-request-id"}
"""What a script can read of every answer with a body: three fields that any may, and one that is exposed."""

TODO = ANSWER | {"etag"}


class Pages(BaseHTTPRequestHandler):
    """Gives the page to the browser, and takes what its scripts report."""

    reports: Queue[Any] = Queue()

    def do_GET(self) -> None:
        """The page."""
        self.send_response(200 if self.path.startswith("/?") else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def do_POST(self) -> None:
        """A report."""
        self.reports.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the library's
        """Nothing: the base class would write to stderr."""


OPTIONS = [
    "--headless",
    "--no-sandbox",  # root can have none
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers have little of it
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

Seen = dict[str, Any]
"""What a script saw, step by step: status, header fields and body, or the exception's text."""


@pytest.fixture
def ports(environment: dict[str, str]) -> Iterator[tuple[int, int, int]]:
    """Of a local server that allows an origin, of one that has lost its database, and of that origin."""
    healthy, broken, page = free_port(), free_port(), free_port()
    allowing = environment | {"CORS_ORIGINS": f"http://127.0.0.1:{page}"}
    without_database = allowing | {
        "NEON_DATABASE_URL": f"postgresql://a:b@127.0.0.1:{free_port()}/c",
        "DATABASE_TIMEOUT_SECONDS": "0.1",
    }
    with ThreadPoolExecutor() as pool:
        servers = list(pool.map(start_server, [healthy, broken], [allowing, without_database]))
    yield healthy, broken, page
    for server in servers:
        server.terminate()
    for server in servers:
        server.wait()


@pytest.mark.browser
def test_a_front_end_on_another_origin_works_if_it_is_configured(ports: tuple[int, int, int]) -> None:
    """What scripts can do and read from a configured origin, and that from any other they can do nothing."""
    healthy, broken, port = ports
    allowed, denied = f"http://127.0.0.1:{port}", f"http://localhost:{port}"
    query = urlencode({"api": f"http://127.0.0.1:{healthy}", "broken": f"http://127.0.0.1:{broken}", "denied": denied})
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
    refused = "TypeError: Failed to fetch"
    assert reports[denied] == dict.fromkeys(["create", "list", "health", "a broken service"], refused)
    items = Api(through_http(healthy))("GET", "/v1/todos", user="browser").json()["items"]
    assert [todo["title"] for todo in items] == ["Another"]  # and nothing of the intruder's
    _lived_the_life_of_a_todo(reports[allowed])
    _saw_errors_as_themselves(reports[allowed])


def _problem(seen: Any) -> tuple[int, str]:
    assert seen["headers"]["content-type"] == "application/problem+json"
    assert seen["body"]["request_id"] == seen["headers"]["x-request-id"]
    return seen["status"], seen["body"]["type"].removeprefix("urn:todo-api:problem:")


def _lived_the_life_of_a_todo(seen: Seen) -> None:
    """The script could send every operation, and read every status, body and header field that it needs."""
    statuses = {step: answer["status"] if isinstance(answer, dict) else answer for step, answer in seen.items()}
    assert statuses == {
        "create": 201,
        "create again": 201,
        "create another": 201,
        "first page": 200,
        "second page": 200,
        "retrieve": 200,
        "retrieve with the tag": 304,
        "retrieve as somebody else": 404,
        "replace": 200,
        "replace too late": 412,
        "update": 200,
        "toggle": 200,
        "retrieve again": 200,
        "a blank title": 422,
        "a broken service": 503,
        "delete": 204,
        "retrieve no more": 404,
    }
    todo, another = seen["create"]["body"], seen["create another"]["body"]
    assert todo | {"title": "Grüße 🌱", "description": None, "is_completed": False, "user_id": "browser"} == todo
    assert seen["create"]["headers"]["location"] == f"/v1/todos/{todo['id']}"
    assert seen["create"]["headers"].keys() == TODO | {"location"}
    assert seen["create again"]["headers"].keys() == TODO | {"location", "idempotency-replayed"}
    assert seen["create again"]["body"] == seen["retrieve"]["body"] == todo
    assert seen["retrieve"]["headers"]["etag"] == seen["create"]["headers"]["etag"]
    assert seen["first page"]["body"]["items"] == [another]
    assert seen["first page"]["headers"].keys() == ANSWER
    assert seen["second page"]["body"] == {"items": [todo], "next_cursor": None}
    assert seen["retrieve with the tag"]["body"] is None
    assert seen["retrieve with the tag"]["headers"]["etag"] == seen["create"]["headers"]["etag"]
    assert seen["replace"]["body"]["title"] == "New"
    assert seen["update"]["body"] == seen["replace"]["body"] | {
        "description": "Two",
        "updated_at": seen["update"]["body"]["updated_at"],
        "etag": seen["update"]["headers"]["etag"],
    }
    assert seen["toggle"]["body"]["is_completed"] is True
    assert seen["toggle"]["headers"].keys() == TODO
    assert seen["retrieve again"]["body"] == seen["toggle"]["body"]  # and not what the browser has kept
    assert seen["delete"]["headers"].keys() == {"cache-control", "x-request-id"}


def _saw_errors_as_themselves(seen: Seen) -> None:
    """The script could tell errors apart, and knew after a 503 when to send again."""
    assert _problem(seen["replace too late"]) == (412, "precondition-failed")
    assert _problem(seen["a blank title"]) == (422, "invalid-request")
    assert seen["a blank title"]["body"]["errors"] == [{"in": "body", "field": "title", "detail": "Must not be blank"}]
    assert _problem(seen["retrieve as somebody else"]) == (404, "todo-not-found")
    assert _problem(seen["retrieve no more"]) == (404, "todo-not-found")
    unavailable = seen["a broken service"]
    assert _problem(unavailable) == (503, "database-unavailable:not-executed")
    assert unavailable["headers"].keys() == ANSWER | {"retry-after"}
    assert unavailable["headers"]["retry-after"] == "1"
    assert unavailable["headers"]["x-request-id"] == "from-a-browser"
