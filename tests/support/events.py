"""Events of API Gateway and of function URLs, as AWS documents them."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

REQUEST_ID = "JKJaXmPLvHcESHA="


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


def _parameters(query: str) -> dict[str, list[str]]:
    """Decoded query parameters, each with all of its values."""
    return parse_qs(query, keep_blank_values=True)


def _as_http_apis_hand_it_on(path: str) -> str:
    """A path as it arrives from an HTTP API: decoded, cut at what is a question mark then, and decoded again.

    AWS documents none of it. These are what was seen in July 2026 by those who sent each kind of path to a real one:
    https://github.com/hotsock/voker/blob/main/vokerhttp/testdata/ingress-paths.json
    """
    return unquote(unquote(path).partition("?")[0])
