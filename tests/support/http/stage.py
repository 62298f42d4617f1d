"""The client of `make verify`: a deployed stage over HTTPS, as two users.

It deletes what it created.
"""

import json
import os
import select
import socket
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from secrets import token_hex
from ssl import create_default_context
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.http.clients import Api, Response, exchange

NAMES = ("alice", "bob")
_SOME_ORIGINS = "https://app.example,http://localhost:3000"
ORIGINS = [origin for origin in os.environ.get("CORS_ORIGINS", _SOME_ORIGINS).split(",") if origin]
"""The origins that the API under test allows. A stage has its own, which `make verify` passes in
the environment."""

REQUEST_SECONDS = 30
"""How long a whole request may take: API Gateway answers after 30 s at the latest."""

REMAPPED = "x-amzn-remapped-"
"""Some kinds of API rename fields with this prefix, `WWW-Authenticate` among them."""

THROTTLED = 429
THROTTLED_SECONDS = 60
"""How long a throttled request is sent again before the 429 counts as the response."""

REFUSED_BY_GATEWAY = {400, 405, 413, 414, 431, 501}
"""Statuses of a gateway that takes a request for malformed or too large and keeps it."""


def tokens() -> list[str]:
    """Return the bearer tokens of the two users from the environment, or none for header mode."""
    given = [os.environ.get(f"{name.upper()}_TOKEN", "") for name in NAMES]
    return given if any(given) else []


class Stage(Api):
    """The API of a deployed stage, over one connection.

    A request that only another identity than a token's could send, or that the gateway refuses as
    malformed or too large, skips the test that needs it.
    """

    def __init__(self, url: str, tokens: Sequence[str] = ()) -> None:
        """Read the users' IDs from their tokens; without tokens, name users of this run.

        Raises:
            ValueError: the URL or a token is unusable.
        """
        super().__init__(self._send)
        parts = urlsplit(url)
        is_plain = parts.scheme == "http" and _is_loopback(parts.hostname or "")
        has_scheme = parts.scheme == "https" or is_plain
        if not has_scheme or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError(
                "URL must be https:// and a host, without a path; http:// only for this machine"
            )
        self._connection = (
            HTTPConnection(parts.netloc, timeout=REQUEST_SECONDS)
            if is_plain
            else HTTPSConnection(
                parts.netloc, timeout=REQUEST_SECONDS, context=create_default_context()
            )
        )
        self._tokens = {_subject(token): token for token in tokens}
        if tokens and len(self._tokens) != len(NAMES):
            raise ValueError("ALICE_TOKEN and BOB_TOKEN must be tokens of two users")
        run = token_hex(4)
        self._users = dict(
            zip(NAMES, self._tokens or [f"{name}|{run}" for name in NAMES], strict=True)
        )
        self._created: set[tuple[str, str]] = set()

    def user_id(self, name: str) -> str:
        """Return the ID of one of the two users."""
        return self._users[name]

    def todos(self) -> list[dict[str, Any]]:
        """Return the todos of the two users, at most 100 of each.

        Raises:
            ValueError: the stage does not list them.
        """
        responses = [self("GET", "/v1/todos?limit=100", user=user) for user in self._users.values()]
        for response in responses:
            if response.status != 200:
                raise ValueError(f"GET /v1/todos returns {response.status} {response.body[:200]!r}")
        return [todo for response in responses for todo in response.json()["items"]]

    def delete_todos(self) -> None:
        """Delete what was created since the last call, and nothing else."""
        while self._created:
            user, path = self._created.pop()
            response = self("DELETE", path, user=user)
            assert response.status in (204, 404), response

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _send(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None
    ) -> Response:
        user = headers.get("X-User-Id", "")
        if self._tokens and path.startswith("/v1/") and method != "OPTIONS":
            if user not in self._tokens:
                pytest.skip("a request as nobody or as a third user, which needs the header mode")
            fields = {name: value for name, value in headers.items() if name != "X-User-Id"}
            headers = fields | {"Authorization": f"Bearer {self._tokens[user]}"}
        response = self._retry_throttled(method, path, headers, body)
        is_refused = response.status in REFUSED_BY_GATEWAY and method != "OPTIONS"
        if is_refused and "x-request-id" not in response.headers:
            pytest.skip(
                f"the gateway refuses {method} {path[:30]} itself: "
                f"{response.status} {response.body[:60]!r}"
            )
        if response.status == 201:
            self._created.add((user, response.headers["location"]))
        return response

    def _retry_throttled(self, *request: Any) -> Response:
        pause = 0.1
        deadline = time.monotonic() + THROTTLED_SECONDS
        response = self._exchange(*request)
        while response.status == THROTTLED and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(2 * pause, 1)
            response = self._exchange(*request)
        return response

    def _exchange(self, *request: Any) -> Response:
        if self._connection.sock and select.select([self._connection.sock], [], [], 0)[0]:
            self._connection.close()  # by the server, while the connection was idle
        try:
            with self._deadline():
                response = exchange(self._connection, *request)
        except (OSError, HTTPException):
            self._connection.close()
            raise
        fields = {name.removeprefix(REMAPPED): text for name, text in response.headers.items()}
        # The gateway's own fields differ between equal responses.
        fields = {
            name: text for name, text in fields.items() if not name.startswith(("apigw-", "x-amz"))
        }
        return Response(response.status, fields, response.body)

    @contextmanager
    def _deadline(self) -> Iterator[None]:
        """Cut the connection when the request takes too long: its own timeout is for each read."""
        if not self._connection.sock:
            self._connection.connect()
        connected = self._connection.sock
        expired = threading.Event()

        def cut() -> None:
            expired.set()
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(REQUEST_SECONDS, cut)
        timer.start()
        try:
            yield
        except (OSError, HTTPException):
            if not expired.is_set():
                raise
        finally:
            timer.cancel()
        if expired.is_set():
            raise TimeoutError(f"no whole response within {REQUEST_SECONDS} s")


def _is_loopback(host: str) -> bool:
    """Whether requests to this host stay on this machine."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def _subject(token: str) -> str:
    """Return the claim `sub` of a JWT, which the API takes for the user's ID."""
    try:
        payload = token.split(".")[1]
        return str(json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"])
    except (IndexError, KeyError, ValueError) as error:
        raise ValueError("ALICE_TOKEN and BOB_TOKEN must be JWTs with a sub") from error
