"""Two ways into the API: an event of API Gateway handed to the Lambda handler, and HTTP to the local server."""

import http.client
import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qs, quote, unquote

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
    domain: str = "abcdefghij.execute-api.eu-central-1.amazonaws.com",
) -> dict[str, Any]:
    """An event of an HTTP API, payload format 2.0.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """
    raw_path, _, query = path.partition("?")
    raw_path = _as_http_apis_hand_it_on(raw_path)
    fields = {name.lower(): str(value) for name, value in headers.items()}
    cookies = fields.pop("cookie", "").split("; ")
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": raw_path,
        "rawQueryString": query,
        "headers": {
            "accept": "*/*",
            "host": domain,
            "user-agent": "curl/8.5.0",
            "x-amzn-trace-id": "Root=1-67400000-0123456789abcdef01234567",
            "x-forwarded-for": "203.0.113.7",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
            **fields,
        },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcdefghij",
            "domainName": domain,
            "domainPrefix": domain.partition(".")[0],
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
    if any(cookies):
        event["cookies"] = cookies
    if query:
        event["queryStringParameters"] = {name: ",".join(values) for name, values in _parameters(query).items()}
    if authorizer is not None:
        event["requestContext"]["authorizer"] = authorizer
    if body is not None:
        event |= _event_body(body, base64=base64)
    return event


def _as_http_apis_hand_it_on(path: str) -> str:
    """A path as it arrives from an HTTP API: decoded, cut at what is a question mark then, and decoded again.

    AWS documents none of it. These are what was seen in July 2026 by those who sent each kind of path to a real one:
    https://github.com/hotsock/voker/blob/main/vokerhttp/testdata/ingress-paths.json
    """
    return unquote(unquote(path).partition("?")[0])


def _parameters(query: str) -> dict[str, list[str]]:
    """Decoded query parameters, each with all of its values."""
    return parse_qs(query, keep_blank_values=True)


def function_url_event(method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> dict[str, Any]:
    """An event of a function URL: as an HTTP API's, but `rawPath` is as it was sent, and only the other one decoded.

    https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
    """
    domain = "abcdefghijklmnopqrstuvwxyz012345.lambda-url.eu-central-1.on.aws"
    event = http_api_event(method, path, headers, body, domain=domain)
    event["rawPath"] = path.partition("?")[0]
    event["requestContext"] |= {"accountId": "anonymous", "apiId": domain.partition(".")[0]}
    event["requestContext"]["http"]["path"] = unquote(event["rawPath"])
    return event


def rest_api_event(
    method: str, path: str, headers: Mapping[str, str], body: bytes | None, *, mapping: str = ""
) -> dict[str, Any]:
    """An event of a REST API, payload format 1.0, on the stage `dev` or below the base path of a custom domain.

    The path is as it was sent, less the stage; the base path stays in it.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    """
    raw_path, _, query = path.partition("?")
    fields = {"Host": "abcdefghij.execute-api.eu-central-1.amazonaws.com", "X-Forwarded-Proto": "https", **headers}
    parameters = _parameters(query)
    event: dict[str, Any] = {
        "resource": "/{proxy+}",
        "path": f"{mapping}{raw_path}",
        "httpMethod": method,
        "headers": fields,
        "multiValueHeaders": {name: [value] for name, value in fields.items()},
        "queryStringParameters": {name: values[-1] for name, values in parameters.items()} or None,
        "multiValueQueryStringParameters": parameters or None,
        "pathParameters": {"proxy": raw_path.strip("/")},
        "stageVariables": {"stageVariable1": "value1"},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcdefghij",
            "authorizer": {"principalId": "somebody", "integrationLatency": 5},
            "domainName": "abcdefghij.execute-api.eu-central-1.amazonaws.com",
            "httpMethod": method,
            "identity": {"sourceIp": "203.0.113.7", "userAgent": "curl/8.5.0"},
            "path": f"{mapping or '/dev'}{raw_path}",
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


def handle(event: dict[str, Any]) -> dict[str, Any]:
    """What the Lambda handler returns for an event, both through JSON and back, as they travel."""
    from handler import handler  # it reads the environment, which the tests have to set first

    response: dict[str, Any] = json.loads(
        json.dumps(handler(json.loads(json.dumps(event)), cast(LambdaContext, Context())))
    )
    return response


def invoke(event: dict[str, Any]) -> Answer:
    """Hand an event to the Lambda handler, as the runtime does."""
    return answer_of(handle(event))


def answer_of(response: dict[str, Any]) -> Answer:
    """What API Gateway makes of a handler's response."""
    assert not response["isBase64Encoded"]
    assert not response.get("multiValueHeaders")
    return Answer(response["statusCode"], response["headers"], response["body"].encode())


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
