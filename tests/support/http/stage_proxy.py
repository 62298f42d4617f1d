"""A stand-in for a deployed stage.

TLS and API Gateway's own behavior, in front of the local server.
"""

import json
import ssl
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from tests.support.http.clients import Response, through_http
from tests.support.http.http_server import serving

FAULTS = ("route missing", "CORS lost", "another user's todo visible", "cached answer")

HOP_BY_HOP = {"connection", "date", "keep-alive", "server", "transfer-encoding"}
BODY_LIMIT = 5_000_000
"""Fewer bytes than an invocation of Lambda may have."""

PATH_LIMIT = 8_000


def unsigned_jwt_of(user: str) -> str:
    """Return a JWT of this user, without a signature."""
    parts = [
        urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({}, {"sub": user})
    ]
    return ".".join([*parts, "unsigned"])


def gateway_response(status: int, message: str) -> Response:
    """Return a response that API Gateway itself gives."""
    return Response(
        status, {"content-type": "application/json"}, json.dumps({"message": message}).encode()
    )


@contextmanager
def stage_proxy(
    port: int, tls: ssl.SSLContext, fault: str = "", *, users_by_token: dict[str, str] | None = None
) -> Iterator[str]:
    """Serve the local server on `port` as a stage, with one of `FAULTS`, and yield the URL.

    With `users_by_token` the caller of `/v1/…` is the token's user, as with a JWT authorizer.
    """
    send = through_http(port)
    requests = count(1)
    owners: dict[str, str] = {}
    cached: dict[tuple[str, str], Response] = {}

    def respond(method: str, path: str, headers: dict[str, str], body: bytes) -> Response:
        number = next(requests)
        if number % 20 == 0:
            return gateway_response(429, "Too Many Requests")
        if len(body) > BODY_LIMIT:
            return gateway_response(413, "Request Entity Too Large")
        if len(path) > PATH_LIMIT:
            return gateway_response(414, "URI Too Long")
        if fault == "route missing" and path.endswith("/toggle"):
            return gateway_response(404, "Not Found")
        headers = {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}
        headers |= {"X-Forwarded-Proto": "https", "X-Amzn-Trace-Id": f"Root={number}"}
        if users_by_token is not None and path.startswith("/v1/") and method != "OPTIONS":
            user = users_by_token.get(headers.pop("Authorization", "").removeprefix("Bearer "))
            if user is None:
                return gateway_response(401, "Unauthorized")
            headers["X-User-Id"] = user
        user = headers.get("X-User-Id", "")
        if fault == "another user's todo visible" and method == "GET" and path in owners:
            headers["X-User-Id"] = owners[path]
        key = (user, path)
        if fault == "cached answer" and method == "GET" and key in cached:
            return cached[key]
        response = send(method, path, headers, body or None)
        fields = {name: text for name, text in response.headers.items() if name not in HOP_BY_HOP}
        if fault == "CORS lost":
            fields = {
                name: text
                for name, text in fields.items()
                if not name.startswith("access-control-")
            }
        response = Response(
            response.status, fields | {"apigw-requestid": f"request-{number}"}, response.body
        )
        if response.status == 201:
            owners[response.headers["location"]] = user
        if response.status == 200:
            cached[key] = response
        return response

    with serving(respond, tls) as url:
        yield url
