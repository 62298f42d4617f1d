"""Two ways into the API: an event of API Gateway handed to the Lambda handler, and HTTP to the local server."""

import http.client
import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote, unquote

from fastapi import FastAPI
from mangum import Mangum
from mangum.types import LambdaContext

REQUEST_ID = "JKJaXmPLvHcESHA="
SERVER_FIELDS = {"date", "connection", "transfer-encoding", "server"}
"""Header fields that belong to the way in, and not to the API."""

_nothing = object()


@dataclass(frozen=True)
class Answer:
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


Raw = Callable[[str, str, dict[str, str], bytes | None], Answer]
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
    ) -> Answer:
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


def http_api_event(
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    base64: bool = False,
    authorizer: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """An event of an HTTP API, payload format 2.0.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """
    raw_path, _, query = path.partition("?")
    raw_path = unquote(raw_path)  # API Gateway decodes the path, and not the query string
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": raw_path,
        "rawQueryString": query,
        "headers": {
            "accept": "*/*",
            "host": "abcdefghij.execute-api.eu-central-1.amazonaws.com",
            "user-agent": "curl/8.5.0",
            "x-amzn-trace-id": "Root=1-67400000-0123456789abcdef01234567",
            "x-forwarded-for": "203.0.113.7",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
            **{name.lower(): value for name, value in headers.items()},
        },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcdefghij",
            "domainName": "abcdefghij.execute-api.eu-central-1.amazonaws.com",
            "domainPrefix": "abcdefghij",
            "http": {
                "method": method,
                "path": raw_path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": "curl/8.5.0",
            },
            "requestId": REQUEST_ID,
            "routeKey": "$default",
            "stage": "$default",
            "time": "20/Nov/2026:09:30:00 +0000",
            "timeEpoch": 1795167000000,
        },
        "isBase64Encoded": False,
    }
    if authorizer is not None:
        event["requestContext"]["authorizer"] = authorizer
    if body is not None:
        event |= _event_body(body, base64=base64)
    return event


def function_url_event(method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> dict[str, Any]:
    """An event of a function URL, which has the form of an HTTP API's.

    https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
    """
    event = http_api_event(method, path, headers, body)
    domain = "abcdefghijklmnopqrstuvwxyz012345.lambda-url.eu-central-1.on.aws"
    event["headers"]["host"] = domain
    event["requestContext"] |= {"accountId": "anonymous", "apiId": domain.split(".")[0], "domainName": domain}
    return event


def rest_api_event(method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> dict[str, Any]:
    """An event of a REST API, payload format 1.0, on the stage `dev`.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    """
    raw_path, _, query = path.partition("?")
    pairs = [pair.partition("=")[::2] for pair in query.split("&") if pair]
    fields = {"Host": "abcdefghij.execute-api.eu-central-1.amazonaws.com", "X-Forwarded-Proto": "https", **headers}
    event: dict[str, Any] = {
        "resource": "/{proxy+}",
        "path": raw_path,
        "httpMethod": method,
        "headers": fields,
        "multiValueHeaders": {name: [value] for name, value in fields.items()},
        "queryStringParameters": {name: unquote(value) for name, value in pairs} or None,
        "multiValueQueryStringParameters": {
            name: [unquote(value) for other, value in pairs if other == name] for name, _ in pairs
        }
        or None,
        "pathParameters": {"proxy": raw_path.lstrip("/")},
        "stageVariables": None,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcdefghij",
            "httpMethod": method,
            "identity": {"sourceIp": "203.0.113.7", "userAgent": "curl/8.5.0"},
            "path": f"/dev{raw_path}",
            "protocol": "HTTP/1.1",
            "requestId": REQUEST_ID,
            "resourcePath": "/{proxy+}",
            "stage": "dev",
        },
        "body": None,
        "isBase64Encoded": False,
    }
    if body is not None:
        event |= _event_body(body)
    return event


def _event_body(body: bytes, *, base64: bool = False) -> dict[str, Any]:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        base64 = True
    if base64:
        return {"body": b64encode(body).decode(), "isBase64Encoded": True}
    return {"body": text, "isBase64Encoded": False}


def invoke(event: dict[str, Any]) -> Answer:
    """Hand an event to the Lambda handler, as the runtime does."""
    from handler import handler  # it reads the environment, which the tests have to set first

    # Through JSON and back, as the event and the response travel.
    response = json.loads(json.dumps(handler(json.loads(json.dumps(event)), cast(LambdaContext, Context()))))
    assert not response["isBase64Encoded"]
    headers = response["headers"] | {
        name: ",".join(values) for name, values in response.get("multiValueHeaders", {}).items()
    }
    return Answer(response["statusCode"], headers, response["body"].encode())


def invoke_app(app: FastAPI, event: dict[str, Any], context: Context) -> Answer:
    """Hand an event to another application than the handler's, through the same adapter."""
    adapter = Mangum(app, lifespan="off", text_mime_types=["application/json", "application/problem+json"])
    response = adapter(event, cast(LambdaContext, context))
    return Answer(response["statusCode"], response["headers"], response["body"].encode())


def through_lambda(method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
    """Send a request through an HTTP API and the Lambda handler."""
    return invoke(http_api_event(method, path, headers, body))


# --- the local server -------------------------------------------------------------------------------------------------


def through_http(port: int) -> Raw:
    """Send requests to a server on loopback."""

    def send(method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.putrequest(method, quote(path, safe="/?=&%+:,;@!$'()*~"), skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value.encode())
            connection.endheaders(body)
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            kept = {name: value for name, value in fields.items() if name not in SERVER_FIELDS}
            return Answer(response.status, kept, response.read())
        finally:
            connection.close()

    return send
