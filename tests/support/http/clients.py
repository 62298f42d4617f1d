"""Clients of the entry points.

API Gateway events to the Lambda handler, and HTTP to the local server.
"""

import http.client
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from json import dumps, loads
from typing import Any, cast
from urllib.parse import quote

from fastapi import FastAPI
from mangum import Mangum
from mangum.types import LambdaContext

from dev.lab.events import http_api_event

SERVER_FIELDS = {"date", "connection", "transfer-encoding", "server"}
"""Header fields that the server adds, and not the API."""


@dataclass(frozen=True)
class Response:
    """A response, with header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Parse the body."""
        return loads(self.body)

    def without_request_id(self) -> "Response":
        """Return the same response with an empty request ID, in the header and in the body."""
        request_id = self.headers["x-request-id"]
        return Response(
            self.status,
            {**self.headers, "x-request-id": ""},
            self.body.replace(request_id.encode(), b""),
        )


Raw = Callable[[str, str, dict[str, str], bytes | None], Response]
"""A function that sends method, path, headers and body."""


_numbers = count(1)


class Api:
    """Send requests with a user, a JSON body and default headers."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    def __call__(
        self,
        method: str,
        path: str,
        *,
        user: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        json: Any = ...,
    ) -> Response:
        """Send one request, without the header fields whose value is empty."""
        fields = {} if user is None else {"X-User-Id": user}
        if json is not ...:
            body = dumps(json)
        if isinstance(body, str):
            body = body.encode()
        if body is not None:
            fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        fields |= headers or {}
        return self._raw(
            method, path, {name: value for name, value in fields.items() if value}, body
        )

    def user_id(self, name: str) -> str:
        """Return the ID for a user of this name, who has no todos."""
        return f"{name}|{next(_numbers)}"


class Context:
    """The part of Lambda's context object that the application reads."""

    def get_remaining_time_in_millis(self) -> int:
        return 29_000


def response_of(response: dict[str, Any]) -> Response:
    """Convert a handler's response as API Gateway does."""
    assert not response["isBase64Encoded"]
    assert not response.get("multiValueHeaders")
    return Response(response["statusCode"], response["headers"], response["body"].encode())


def invoke(event: dict[str, Any]) -> Response:
    """Call the Lambda handler. Event and response are serialized to JSON, as on Lambda."""
    # Not at the top: the import reads the environment that the tests set.
    from handler import handler

    response = handler(loads(dumps(event)), cast(LambdaContext, Context()))
    return response_of(loads(dumps(response)))


def invoke_app(app: FastAPI, event: dict[str, Any], context: Context) -> Response:
    """Call another application than the handler's, with the same Mangum options."""
    adapter = Mangum(
        app,
        lifespan="off",
        text_mime_types=["text/", "application/json", "application/problem+json"],
    )
    return response_of(adapter(event, cast(LambdaContext, context)))


def through_lambda(method: str, path: str, headers: dict[str, str], body: bytes | None) -> Response:
    """Send a request as an HTTP API event to the Lambda handler."""
    return invoke(http_api_event(method, path, headers, body))


def through_http(port: int) -> Raw:
    """Return a function that sends requests to a server on loopback."""

    def send(*request: Any) -> Response:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            return exchange(connection, *request)

    return send


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes | None,
) -> Response:
    """Send a request over a connection and read the response."""
    connection.putrequest(
        method,
        quote(path, safe="/?=&%+:,;@!$'()*~"),
        skip_host="Host" in headers,
        skip_accept_encoding=True,
    )
    for name, value in headers.items():
        connection.putheader(name, value.encode())
    connection.endheaders(body)
    response = connection.getresponse()
    fields = {
        name.lower(): value
        for name, value in response.getheaders()
        if name.lower() not in SERVER_FIELDS
    }
    return Response(response.status, fields, response.read())
