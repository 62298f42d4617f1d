"""Events of API Gateway and of function URLs, in the format that AWS documents."""

from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, unquote

REQUEST_ID = "JKJaXmPLvHcESHA="
DOMAIN = "abcdefghij.execute-api.eu-central-1.amazonaws.com"


def http_api_event(
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    base64: bool = False,
    authorizer: Mapping[str, Any] | None = None,
    domain: str = DOMAIN,
) -> dict[str, Any]:
    """An HTTP API event, payload format 2.0.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """
    raw_path, _, query = path.partition("?")
    # An HTTP API decodes the path, cuts it at the first question mark, and decodes it again. AWS
    # does not document this. Others sent such paths to a real HTTP API in July 2026 and recorded
    # the events: https://github.com/hotsock/voker/blob/main/vokerhttp/testdata/ingress-paths.json
    raw_path = unquote(unquote(raw_path).partition("?")[0])
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
        **_event_body(body, base64=base64),
    }
    if any(cookies):
        event["cookies"] = cookies
    if query:
        parameters = parse_qs(query, keep_blank_values=True)
        event["queryStringParameters"] = {
            name: ",".join(values) for name, values in parameters.items()
        }
    if authorizer is not None:
        event["requestContext"]["authorizer"] = authorizer
    return event


def function_url_event(
    method: str, path: str, headers: Mapping[str, str], body: bytes | None
) -> dict[str, Any]:
    """A function URL event.

    Like an HTTP API event, but only `http.path` is decoded, and `rawPath` is not.
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
    """A REST API event, payload format 1.0.

    On the stage `dev` or below the base path of a custom domain. The path is not decoded. It
    contains the base path (`mapping`) but not the stage.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    """
    raw_path, _, query = path.partition("?")
    fields = {"Host": DOMAIN, "X-Forwarded-Proto": "https", **headers}
    parameters = parse_qs(query, keep_blank_values=True)
    return {
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
            "domainName": DOMAIN,
            "httpMethod": method,
            "identity": {"sourceIp": "203.0.113.7", "userAgent": "curl/8.5.0"},
            "path": f"{mapping or '/dev'}{raw_path}",
            "protocol": "HTTP/1.1",
            "requestId": REQUEST_ID,
            "resourcePath": "/{proxy+}",
            "stage": "dev",
        },
        "body": None,
        **_event_body(body),
    }


def _event_body(body: bytes | None, *, base64: bool = False) -> dict[str, Any]:
    if body is None:
        return {"isBase64Encoded": False}
    with suppress(UnicodeDecodeError):
        if not base64:
            return {"body": body.decode(), "isBase64Encoded": False}
    return {"body": b64encode(body).decode(), "isBase64Encoded": True}
