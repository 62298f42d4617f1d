"""The Lambda handler and the local server give the same response to the same request."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.http.clients import Api, Response

ALL = "/v1/todos"
ID = "c0ffee00-1234-4abc-9def-0123456789ab"
ONE = f"{ALL}/{ID}"
TAG = '"2026-11-20T09:30:00.123456Z"'
JSON = {"Content-Type": "application/json"}
ORIGIN = {"Origin": "https://app.example"}
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type,x-user-id",
}
TODO = b'{"title": "Gr\xc3\xbc\xc3\x9fe \xf0\x9f\x8c\xb1", "description": "", "is_completed": true}'

Sent = tuple[str, str, dict[str, str], bytes | None]

GET_PATHS = [
    "/health",
    "/health?x=1",
    "/ready",
    "/openapi.json",
    "/docs",
    "/",
    "/nowhere",
    "//v1//todos",
    "/V1/todos",
    ALL,
    f"{ALL}/",
    f"{ALL}%0A",
    f"{ALL}?",
    f"{ALL}?limit",
    f"{ALL}?limit=1",
    f"{ALL}?limit=0",
    f"{ALL}?limit=1&limit=2",
    f"{ALL}?limit=1&limit=1",
    f"{ALL}?limit=1,2",
    f"{ALL}?limit=%31",
    f"{ALL}?limit=%2531",
    f"{ALL}?limit=+1",
    f"{ALL}?limit=%2B1",
    f"{ALL}?limit=1;limit=2",
    f"{ALL}?is_completed=true&limit=2",
    f"{ALL}?is%5Fcompleted=tr%75e",
    f"{ALL}?cursor=",
    f"{ALL}?cursor=AAAA%3D",
    f"{ALL}?complete=true&%F0%9F%8C%B1=%FF",
    ONE,
    f"{ALL}/{ID.upper()}",
    ONE.replace("-", "%2D"),
    ONE.replace("/", "%2F"),
    f"{ONE}/",
    f"{ONE}?x=1",
    f"{ONE}%23fragment",
    f"{ALL}/not-a-uuid",
    f"{ALL}/a%2Fb",
    f"{ALL}/%20{ID}",
    f"{ALL}/+{ID}",
    f"{ALL}/%CE%BB",
    f"{ALL}/{ID[:-1]}c",
]

READS: list[Sent] = [
    *(("GET", path, {}, None) for path in GET_PATHS),
    *(("HEAD", path, {}, None) for path in ("/health", ALL, ONE, f"{ONE}/toggle", "/nowhere")),
    *(("GET", ONE, {"If-None-Match": tag}, None) for tag in (TAG, f"W/{TAG}")),
    *(("GET", ONE, {"If-Match": tag}, None) for tag in ('"other"', "not a tag")),
    ("GET", ONE, {"Cookie": "session=abc123; theme=dark"}, None),
    ("GET", ONE, {"X-User-Id": "somebody-else"}, None),
    *(("GET", ALL, {"X-User-Id": user}, None) for user in ("", "a b", "a\u00fc", "x" * 256)),
    ("GET", ALL, {"X-User-Id": "", "x-USER-id": "pat"}, None),
    ("GET", ALL, {"X-Request-Id": "my-own_1.id"}, None),
    ("GET", ALL, JSON, b"ignored \xff"),
    ("GET", ALL, ORIGIN, None),
    ("GET", ALL, {"Origin": "https://evil.example"}, None),
    ("OPTIONS", ONE, {}, None),
    ("OPTIONS", ALL, ORIGIN, None),
    ("OPTIONS", ALL, {**ORIGIN, **PREFLIGHT}, None),
    ("OPTIONS", ALL, {**PREFLIGHT, "Origin": "https://evil.example"}, None),
    ("POST", ONE, {}, None),
    ("TRACE", ALL, {}, None),
]
"""Requests that change nothing, so that both responses are equal byte by byte."""

WRITES: list[Sent] = [
    ("POST", ALL, JSON, TODO),
    ("POST", ALL, {"Content-Type": "", "content-TYPE": "application/json; charset=utf-8"}, TODO),
    ("POST", ALL, {**JSON, "Idempotency-Key": "the first"}, TODO),
    ("POST", ALL, {**JSON, "Idempotency-Key": "a-key"}, TODO),
    ("POST", ALL, {"Content-Type": "text/plain"}, TODO),
    ("POST", ALL, {"Content-Type": ""}, TODO),
    ("POST", ALL, JSON, b""),
    ("POST", ALL, JSON, None),
    ("POST", ALL, JSON, b'{"title": "\xff"}'),
    ("POST", ALL, JSON, b"\x00\x01\xfe\xff"),
    ("POST", ALL, JSON, b'\xef\xbb\xbf{"title": "a"}'),
    ("POST", ALL, JSON, b'{"title": "a", "title": "b"}'),
    ("POST", ALL, JSON, b'{"title": "", "x": 1}'),
    ("POST", ALL, JSON, b'{"title": "a", "description": "a\\r\\nb\\n\\tc"}\r\n'),
    ("POST", ALL, JSON, b" " * 65_536),
    ("POST", ALL, JSON, b" " * 65_537),
    ("POST", ALL, {**JSON, "X-User-Id": ""}, TODO),
    ("PUT", ONE, JSON, TODO),
    ("PUT", ONE, {**JSON, "If-Match": TAG}, TODO),
    ("PATCH", ONE, JSON, b"{}"),
    ("PATCH", ONE, {"Content-Type": "application/merge-patch+json"}, b'{"description": null}'),
    ("PATCH", ONE, {**JSON, "If-None-Match": "*"}, b'{"is_completed": true}'),
    ("POST", f"{ONE}/toggle", {}, None),
    ("POST", f"{ONE}/toggle", {"Content-Type": "application/octet-stream"}, b"\x00\xff"),
    ("POST", f"{ONE}/toggle/", {}, None),
    ("DELETE", ONE, {}, None),
    ("DELETE", ONE, {"If-Match": '"other"'}, None),
]

GENERATED = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[0-9:.]{15}Z")
"""IDs and times, which entity tags also contain."""


def _comparable(response: Response, *, written: bool) -> tuple[int, dict[str, str], str]:
    headers = dict(response.headers)
    body = response.body.decode()
    if response.status in (204, 304):
        headers.pop("content-type", None)  # Mangum also sends it without a body
    if written:
        headers = {name: GENERATED.sub("*", value) for name, value in headers.items()}
        body = GENERATED.sub("*", body)
    return response.status, headers, body


@pytest.mark.parametrize("requests", [READS, WRITES], ids=["reads", "writes"])
def test_http_api_and_local_server_send_equal_status_headers_and_body(
    lambda_api: Api, local_api: Api, sql: Callable[..., Any], requests: list[Sent]
) -> None:
    statuses = set()
    for method, path, headers, body in requests:
        responses = []
        for api in (lambda_api, local_api):
            sql(
                "INSERT INTO users VALUES ('pat') ON CONFLICT DO NOTHING;"
                "DELETE FROM todos WHERE user_id = 'pat';"
                "INSERT INTO todos (user_id, id, title, created_at, updated_at,"
                "idempotency_key, request_hash) VALUES"
                "('pat', %s, 'First', '2026-11-20 09:30:00.123456Z', '2026-11-20 09:30:00.123456Z',"
                "NULL, NULL),"
                "('pat', %s, 'Second', '2026-11-20 09:29Z', '2026-11-20 09:29Z', 'a-key', '')",
                *(ID, ID.replace("c0ffee", "decade")),
            )
            fields = {"X-Request-Id": "the-same", "X-User-Id": "pat"} | headers
            responses.append(
                _comparable(
                    api(method, path, headers=fields, body=body), written=requests is WRITES
                )
            )
        assert responses[0] == responses[1], (method, path, headers, body)
        statuses.add(responses[0][0])
    expected = {200, 400, 401, 404, 422} | (
        {304, 405} if requests is READS else {201, 204, 412, 413, 415}
    )
    assert statuses == expected
