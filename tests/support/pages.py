"""Run the curl commands of a Markdown page, compare the responses with the page, and record requests."""

import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic
from typing import Any

from tests.support.clients import Response

ADDRESS = "http://127.0.0.1:8000"
"""The address of `make run`, which the pages use."""

CHANGING = re.compile(
    r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[0-9:.]+Z|(?<=etag: )".*"|(?<="next_cursor":")[^"]+'
)
"""IDs, times, entity tags and cursors, which differ in each run."""


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the code blocks of a page, each with its language."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def shown(text: str) -> Response:
    """Parse the response in an `http` block."""
    head, _, body = text.partition("\n\n")
    status, *fields = head.splitlines()
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in fields)}
    return Response(int(status.split()[1]), headers, body.strip().encode())


def assert_as_shown(response: Response, text: str) -> None:
    """Assert that a response has the status, header fields and body of an `http` block, except for `CHANGING`."""
    expected = shown(text)
    assert response.status == expected.status, response
    for name, value in expected.headers.items():
        assert CHANGING.sub("*", f"{name}: {response.headers[name]}") == CHANGING.sub("*", f"{name}: {value}")
    assert CHANGING.sub("*", response.body.decode()) == CHANGING.sub("*", expected.body.decode())
    if expected.body:
        json.loads(expected.body)


class Shell:
    """Run curl commands against `url`, and set the variables of the following commands."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._variables: dict[str, str] = {}

    def __call__(self, command: str) -> Response:
        """Run one command and return its last response. Sets `$ID`, `$ETAG` and `$CURSOR` from it."""
        done = subprocess.run(
            ["/bin/sh", "-uc", command.replace(ADDRESS, self._url)],  # -u: fail if a variable is not set
            env={**os.environ, **self._variables, "NO_PROXY": "*"},
            capture_output=True,
            check=True,
            text=True,
            timeout=60,
        )
        response = shown(re.split(r"(?=HTTP/1\.1 \d{3} )", done.stdout.replace("\r\n", "\n"))[-1])
        found = json.loads(response.body or "{}")
        if response.status == 201:
            self._variables["ID"] = found["id"]
        if "etag" in response.headers:
            self._variables["ETAG"] = response.headers["etag"]
        if found.get("next_cursor"):
            self._variables["CURSOR"] = found["next_cursor"]
        return response


def commands(text: str) -> list[str]:
    """Return the curl commands of an `sh` block; a command may have several lines."""
    return re.findall(r"^curl (?:.*\\\n)*.*$", text, re.MULTILINE)


def run_commands(page: Path, url: str) -> int:
    """Run a page's curl commands in order, compare the responses that it shows, and return the number of commands."""
    shell, last, count = Shell(url), None, 0
    for language, text in blocks(page):
        if language == "http" and last:
            assert_as_shown(last, text)
        last = None
        if language != "sh":
            continue
        for command in commands(text):
            assert last is None or last.status < 300, "the page shows only a block's last response"
            last = shell(command)
            count += 1
    return count


# --- a recording server -----------------------------------------------------------------------------------------------


@dataclass
class Exchange:
    """A recorded request, its arrival time and its response."""

    time: float
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    response: Response


@dataclass
class Relay:
    """Stand-in for API Gateway: forwards requests to the API, or sends a response of its own."""

    api: Callable[..., Response]
    url: str = ""
    own_responses: list[Response] = field(default_factory=list)
    """Responses to the next requests, which are then not forwarded."""
    exchanges: list[Exchange] = field(default_factory=list)

    def __call__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Response:
        """Respond to one request."""
        time = monotonic()
        if self.own_responses:
            response = self.own_responses.pop(0)
        else:
            response = self.api(method, path, headers=headers, body=body or None)
        self.exchanges.append(Exchange(time, method, path, headers, body, response))
        return response

    def seen(self, *names: str) -> list[tuple[Any, ...]]:
        """Return method, path, status and the named request headers of each exchange."""
        return [
            (each.method, each.path, each.response.status, *(each.headers.get(name) for name in names))
            for each in self.exchanges
        ]


@contextmanager
def relay(api: Callable[..., Response], *own_responses: Response) -> Iterator[Relay]:
    """Run a relay on a free port."""
    this = Relay(api, own_responses=[*own_responses])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline:
                self.close_connection = True
                return
            if not self.parse_request():
                return
            headers = {name.title(): value for name, value in self.headers.items() if name.lower() != "host"}
            body = self.rfile.read(int(headers.get("Content-Length", 0)))
            response = this(self.command, self.path, headers, body)
            self.send_response(response.status)
            for name, value in response.headers.items():
                if name != "content-length":
                    self.send_header(name, value)
            if response.status not in (204, 304):
                self.send_header("content-length", str(len(response.body)))
            self.end_headers()
            self.wfile.write(response.body)

        def log_message(self, *_: object) -> None:
            """Do not log requests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    this.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield this
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
