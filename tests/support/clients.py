"""Two ways into the API: an event of API Gateway handed to the Lambda handler, and HTTP to the local server."""

import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote

from fastapi import FastAPI
from mangum import Mangum
from mangum.types import LambdaContext

from tests.support.events import http_api_event

SERVER_FIELDS = {"date", "connection", "transfer-encoding", "server"}
"""Header fields that belong to the way in, and not to the API."""

_nothing = object()


@dataclass(frozen=True)
class Response:
    """A response, header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body's value."""
        return json.loads(self.body)

    def but_for_the_request_id(self) -> tuple[int, dict[str, str], bytes]:
        """All of it, with a placeholder for the request's id."""
        request_id = self.headers["x-request-id"]
        headers = {name: value for name, value in self.headers.items() if name != "x-request-id"}
        return self.status, headers, self.body.replace(request_id.encode(), b"ID")


Raw = Callable[[str, str, dict[str, str], bytes | None], Response]
"""Sends method, path, header and body."""


class Api:
    """Sends requests in a comfortable form."""

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
        json: Any = _nothing,
    ) -> Response:
        """Send one request. Header fields with an empty value are left out."""
        fields = {} if user is None else {"X-User-Id": user}
        if json is not _nothing:
            body = _dumps(json)
        if isinstance(body, str):
            body = body.encode()
        if body is not None:
            fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        fields |= headers or {}
        return self._raw(method, path, {name: value for name, value in fields.items() if value}, body)


_dumps = json.dumps


# --- the Lambda handler -----------------------------------------------------------------------------------------------


class Context:
    """The parts of Lambda's context object that a handler may look at."""

    aws_request_id = "6bc28136-xmpl-4365-b021-0ce6b2e64ab0"
    function_name = "todo-api"

    def get_remaining_time_in_millis(self) -> int:
        """What the function's timeout leaves."""
        return 29_000


def handle(event: dict[str, Any]) -> dict[str, Any]:
    """What the Lambda handler returns for an event, both through JSON and back, as they travel."""
    from handler import handler  # it reads the environment, which the tests have to set first

    response: dict[str, Any] = json.loads(
        json.dumps(handler(json.loads(json.dumps(event)), cast(LambdaContext, Context())))
    )
    return response


def invoke(event: dict[str, Any]) -> Response:
    """Hand an event to the Lambda handler, as the runtime does."""
    return response_of(handle(event))


def response_of(response: dict[str, Any]) -> Response:
    """What API Gateway makes of a handler's response."""
    assert not response["isBase64Encoded"]
    assert not response.get("multiValueHeaders")
    return Response(response["statusCode"], response["headers"], response["body"].encode())


def invoke_app(app: FastAPI, event: dict[str, Any], context: Context) -> Response:
    """Hand an event to another application than the handler's, through the same adapter."""
    adapter = Mangum(app, lifespan="off", text_mime_types=["application/json", "application/problem+json"])
    response = adapter(event, cast(LambdaContext, context))
    return Response(response["statusCode"], response["headers"], response["body"].encode())


def through_lambda(method: str, path: str, headers: dict[str, str], body: bytes | None) -> Response:
    """Send a request through an HTTP API and the Lambda handler."""
    return invoke(http_api_event(method, path, headers, body))


# --- the local server -------------------------------------------------------------------------------------------------


def through_http(port: int) -> Raw:
    """Send requests to a server on loopback."""

    def send(method: str, path: str, headers: dict[str, str], body: bytes | None) -> Response:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.putrequest(method, quote(path, safe="/?=&%+:,;@!$'()*~"), skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value.encode())
            connection.endheaders(body)
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            kept = {name: value for name, value in fields.items() if name not in SERVER_FIELDS}
            return Response(response.status, kept, response.read())
        finally:
            connection.close()

    return send
