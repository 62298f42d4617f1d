"""The pages of the documentation as something to run: their code blocks, the real curl, and a server in between."""

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
"""Where `make run` serves, and so what the pages show."""

CHANGING = re.compile(
    r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[0-9:.]+Z|(?<=etag: )".*"|(?<="next_cursor":")[^"]+'
)
"""What differs from run to run: ids, times, entity tags and cursors."""


def blocks(page: Path) -> list[tuple[str, str]]:
    """The code blocks of a page, each with its language."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def shown(text: str) -> Response:
    """The answer that an `http` block shows."""
    head, _, body = text.partition("\n\n")
    status, *fields = head.splitlines()
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in fields)}
    return Response(int(status.split()[1]), headers, body.strip().encode())


def assert_as_shown(answer: Response, text: str) -> None:
    """Assert that an answer has the status, the header fields and the body shown, but for what changes."""
    expected = shown(text)
    assert answer.status == expected.status, answer
    for name, value in expected.headers.items():
        assert CHANGING.sub("*", f"{name}: {answer.headers[name]}") == CHANGING.sub("*", f"{name}: {value}")
    assert CHANGING.sub("*", answer.body.decode()) == CHANGING.sub("*", expected.body.decode())
    if expected.body:
        json.loads(expected.body)


class Shell:
    """Runs curl commands, and sets the variables that the next ones use."""

    def __init__(self, url: str) -> None:
        """Send what is for `ADDRESS` to `url`."""
        self._url = url
        self._variables: dict[str, str] = {}

    def __call__(self, command: str) -> Response:
        """Run one command; the answer, the last one if curl has tried again.

        `$ID` is then the todo that it created, `$ETAG` the version and `$CURSOR` the next page that it told of.
        """
        done = subprocess.run(
            ["sh", "-uc", command.replace(ADDRESS, self._url)],  # noqa: S607  # the system's own; -u: no variable is empty
            env={**os.environ, **self._variables, "NO_PROXY": "*"},
            capture_output=True,
            check=True,
            text=True,
            timeout=60,
        )
        answer = shown(re.split(r"(?=HTTP/1\.1 \d{3} )", done.stdout.replace("\r\n", "\n"))[-1])
        found = json.loads(answer.body or "{}")
        if answer.status == 201:
            self._variables["ID"] = found["id"]
        if "etag" in answer.headers:
            self._variables["ETAG"] = answer.headers["etag"]
        if found.get("next_cursor"):
            self._variables["CURSOR"] = found["next_cursor"]
        return answer


def commands(text: str) -> list[str]:
    """The curl commands of an `sh` block, those of several lines too."""
    return re.findall(r"^curl (?:.*\\\n)*.*$", text, re.MULTILINE)


def run_commands(page: Path, url: str) -> int:
    """Run a page's curl commands in order, and compare each answer that is shown below one; how many there were."""
    shell, last, count = Shell(url), None, 0
    for language, text in blocks(page):
        if language == "http" and last:
            assert_as_shown(last, text)
        last = None
        if language != "sh":
            continue
        for command in commands(text):
            assert last is None or last.status < 300, "only a block's last answer is shown"
            last = shell(command)
            count += 1
    return count


# --- a server in between ----------------------------------------------------------------------------------------------


@dataclass
class Exchange:
    """A request that came, when it came, and how it was answered."""

    moment: float
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    answer: Response


@dataclass
class Relay:
    """Stands where API Gateway stands: passes requests on to the API, unless it has an answer of its own."""

    api: Callable[..., Response]
    url: str = ""
    own_answers: list[Response] = field(default_factory=list)
    """What to answer instead of asking the API, one for each request."""
    exchanges: list[Exchange] = field(default_factory=list)

    def __call__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Response:
        """Answer one request."""
        moment = monotonic()
        if self.own_answers:
            answer = self.own_answers.pop(0)
        else:
            answer = self.api(method, path, headers=headers, body=body or None)
        self.exchanges.append(Exchange(moment, method, path, headers, body, answer))
        return answer

    def seen(self, *names: str) -> list[tuple[Any, ...]]:
        """Of each exchange the method, the path, the status, and the request's header fields of these names."""
        return [
            (one.method, one.path, one.answer.status, *(one.headers.get(name) for name in names))
            for one in self.exchanges
        ]


@contextmanager
def relay(api: Callable[..., Response], *own_answers: Response) -> Iterator[Relay]:
    """A relay on a port of its own."""
    this = Relay(api, own_answers=[*own_answers])

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
            answer = this(self.command, self.path, headers, body)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name != "content-length":
                    self.send_header(name, value)
            if answer.status not in (204, 304):
                self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

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
