"""Run the curl commands of a Markdown page, compare the responses, and record requests."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any

from tests.support.http.clients import Response
from tests.support.http.http_server import serving

ADDRESS = "http://127.0.0.1:8000"
"""The address of `make run`, which the pages use."""

_GENERATED_VALUE = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[0-9:.]+Z|"
    r'(?<=etag: )".*"|(?<="next_cursor":")[^"]+'
)


def without_generated_values(text: str) -> str:
    """A text with a placeholder for each ID, time, entity tag and cursor.

    These differ in each run.
    """
    return _GENERATED_VALUE.sub("*", text)


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
    """Assert that a response is as an `http` block shows it, where `…` is any text.

    Compares status, header fields and body. Generated values may differ.
    """
    expected = shown(text)

    def comparable(each: Response) -> str:
        fields = [f"{name}: {each.headers[name]}" for name in expected.headers]
        return without_generated_values("\n".join([str(each.status), *fields, each.body.decode()]))

    pattern = re.escape(comparable(expected)).replace("…", ".+")
    assert re.fullmatch(pattern, comparable(response)), (
        f"{comparable(response)}\nis not as shown:\n{comparable(expected)}"
    )


class Shell:
    """Run curl commands against `url`, and set the variables of the following commands."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._variables: dict[str, str] = {}

    def __call__(self, command: str) -> Response:
        """Run one command and return its last response.

        Sets `$ID`, `$ETAG` and `$CURSOR` from it.
        """
        done = subprocess.run(
            # -u: fail if a variable is not set.
            ["/bin/sh", "-uc", command.replace(ADDRESS, self._url)],
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
    """Return the curl commands of an `sh` block."""
    return re.findall(r"^curl .*$", text, re.MULTILINE)


def run_commands(page: Path, url: str) -> int:
    """Run a page's curl commands in order, and compare the responses that it shows.

    Returns the number of commands.
    """
    shell = Shell(url)
    count = 0
    for (language, text), (next_language, expected) in pairwise([*blocks(page), ("", "")]):
        responses = [shell(command) for command in commands(text)] if language == "sh" else []
        assert all(response.status < 300 for response in responses[:-1]), (
            "the page shows only a block's last response"
        )
        if responses and next_language == "http":
            assert_as_shown(responses[-1], expected)
        count += len(responses)
    return count


# --- a recording server ---------------------------------------------------------------------------


@dataclass
class Exchange:
    """A recorded request, its arrival time and its response."""

    time: float
    method: str
    path: str
    headers: dict[str, str]
    response: Response


@dataclass
class Relay:
    """The address of a relay, and what it has recorded."""

    url: str
    exchanges: list[Exchange]

    def seen(self, *names: str) -> list[tuple[Any, ...]]:
        """Return method, path, status and the named request headers of each exchange."""
        return [
            (
                each.method,
                each.path,
                each.response.status,
                *(each.headers.get(name) for name in names),
            )
            for each in self.exchanges
        ]


@contextmanager
def relay(api: Callable[..., Response], *own_responses: Response) -> Iterator[Relay]:
    """Run a stand-in for API Gateway.

    It sends its own responses first, and then forwards requests to the API.
    """
    responses = list(own_responses)
    exchanges = list[Exchange]()

    def respond(method: str, path: str, headers: dict[str, str], body: bytes) -> Response:
        time = monotonic()
        response = (
            responses.pop(0) if responses else api(method, path, headers=headers, body=body or None)
        )
        exchanges.append(Exchange(time, method, path, headers, response))
        return response

    with serving(respond) as url:
        yield Relay(url, exchanges)
