"""Every entry point gives the same response to the same request."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from dev.lab.events import REQUEST_ID, function_url_event, http_api_event, rest_api_event
from tests.support.documents.walk import new_caller
from tests.support.http.assertions import assert_problem
from tests.support.http.clients import Api, Response, handle, invoke
from tests.support.http.users import User, new_user

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
    *(
        "/health",
        "/health?x=1",
        "/ready",
        "/openapi.json",
        "/docs",
        "/",
        "/nowhere",
        "//v1//todos",
        "/V1/todos",
    ),
    *(
        ALL,
        f"{ALL}/",
        f"{ALL}?",
        f"{ALL}?limit",
        f"{ALL}?limit=1",
        f"{ALL}?limit=0",
        f"{ALL}?limit=1&limit=2",
    ),
    *(
        f"{ALL}?limit=1&limit=1",
        f"{ALL}?limit=1,2",
        f"{ALL}?limit=%31",
        f"{ALL}?limit=%2531",
        f"{ALL}?limit=+1",
    ),
    *(f"{ALL}?limit=%2B1", f"{ALL}?limit=1;limit=2", f"{ALL}?is_completed=true&limit=2"),
    *(f"{ALL}?is%5Fcompleted=tr%75e", f"{ALL}?cursor=", f"{ALL}?cursor=AAAA%3D"),
    f"{ALL}?complete=true&%F0%9F%8C%B1=%FF",
    *(
        ONE,
        f"{ALL}/{ID.upper()}",
        ONE.replace("-", "%2D"),
        ONE.replace("/", "%2F"),
        f"{ONE}/",
        f"{ONE}?x=1",
    ),
    *(
        f"{ONE}%23fragment",
        f"{ALL}/not-a-uuid",
        f"{ALL}/a%2Fb",
        f"{ALL}/%20{ID}",
        f"{ALL}/+{ID}",
        f"{ALL}/%CE%BB",
    ),
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


# --- each entry point -----------------------------------------------------------------------------

EVENTS: dict[str, Callable[..., dict[str, Any]]] = {
    "HTTP API": http_api_event,
    "HTTP API, body in base64": partial(http_api_event, base64=True),
    "REST API": rest_api_event,
    "function URL": function_url_event,
}
"""Functions that make the events of each AWS entry point."""


@pytest.fixture(params=[*EVENTS, "local server"])
def api(request: pytest.FixtureRequest, lambda_api: Api, local_api: Api) -> Api:
    """The API, through each entry point."""
    if request.param == "local server":
        return local_api
    assert lambda_api  # this fixture sets the handler's environment
    make_event = EVENTS[request.param]
    return Api(lambda *parts: invoke(make_event(*parts)))


def test_every_operation_works_through_each_entry_point_with_each_option(api: Api) -> None:
    caller = new_caller("grace", api)
    for operation in caller.operations:
        for request in caller.requests(operation):
            response = caller.send(request)
            assert request.is_answered_by(response), (request.name, response)


def test_path_query_header_fields_and_body_arrive_through_each_entry_point(api: Api) -> None:
    user = "grace"
    created = api("POST", ALL, user=user, body=TODO, headers={"Idempotency-Key": "1"})
    todo = created.json()
    path = f"{ALL}/{todo['id']}"
    assert created.status == 201
    assert created.headers["location"] == path
    assert (todo["title"], todo["description"], todo["is_completed"]) == ("Grüße 🌱", "", True)
    replayed = api("POST", ALL, user=user, body=TODO, headers={"Idempotency-Key": "1"})
    assert (replayed.json(), replayed.headers["idempotency-replayed"]) == (todo, "true")
    page = api("GET", f"{ALL}?limit=100&is_completed=true", user=user).json()
    assert page == {"items": [todo], "next_cursor": None}
    assert api("GET", f"{ALL}?limit=0&limit=1", user=user).status == 200
    same = api("GET", path, user=user, headers={"If-None-Match": created.headers["etag"]})
    assert (same.status, same.body) == (304, b"")
    put = api(
        "PUT", path, user=user, json={"title": "x"}, headers={"If-Match": created.headers["etag"]}
    )
    assert put.status == 200
    late = api(
        "PATCH", path, user=user, json={"title": "y"}, headers={"If-Match": created.headers["etag"]}
    )
    assert_problem(late, 412)
    assert api("PATCH", path, user=user, json={"description": "ä"}).json()["description"] == "ä"
    assert api("POST", f"{path}/toggle", user=user).json()["is_completed"] is True
    assert api("POST", path, user=user).headers["allow"] == "DELETE, GET, HEAD, PATCH, PUT"
    assert_problem(api("GET", f"{path}/", user=user), 404)
    deleted = api("DELETE", path, user=user)
    assert (deleted.status, deleted.body) == (204, b"")
    assert_problem(api("GET", path, user=user), 404)
    assert [api(method, "/health").status for method in ("GET", "HEAD")] == [200, 200]
    assert api("GET", "/ready").status == 200


VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
USER_IDS = [VISIBLE, VISIBLE[::-1], "~" * 255, (VISIBLE * 3)[:255], ",", '"', "%2C", "a,b"]


def test_user_ids_with_all_visible_ascii_characters_and_of_length_255_are_kept(
    api: Api, sql: Callable[..., Any]
) -> None:
    sql("DELETE FROM todos WHERE user_id = ANY(%s)", USER_IDS)
    for user in USER_IDS:
        created = api("POST", ALL, user=user, json={"title": "mine"})
        assert (created.status, created.json()["user_id"]) == (201, user)
        path = created.headers["location"]
        assert [todo["id"] for todo in api("GET", ALL, user=user).json()["items"]] == [
            path.rpartition("/")[2]
        ]
        assert api("DELETE", path, user=user).status == 204


def test_pages_contain_each_todo_once_and_cursors_need_no_escaping(api: Api) -> None:
    walker = new_user("walker", api)  # the first of its two todos is not completed
    created = [walker.create("x") for _ in range(3)]
    expected = [*reversed(created), walker.todos[0]]
    found = []
    query = "limit=1&is_completed=false"  # Base64 would pad the cursors of this filter
    for _ in expected:
        page = walker("GET", f"{ALL}?{query}").json()
        found += page["items"]
        assert re.fullmatch(r"[A-Za-z0-9_-]*", page["next_cursor"] or "")
        query = f"limit=1&is_completed=false&cursor={page['next_cursor']}"
    assert (found, page["next_cursor"]) == (expected, None)


# --- events and responses -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make_event", "authorizer"),
    [
        (http_api_event, {"jwt": {"claims": {"sub": "mallory"}, "scopes": ["email"]}}),
        (http_api_event, {"lambda": {"sub": "mallory"}}),
        (http_api_event, {"lambda": None}),
        (http_api_event, {"iam": {"userId": "mallory", "cognitoIdentity": None}}),
        (rest_api_event, {"claims": {"sub": "mallory"}}),
        (rest_api_event, {"principalId": "mallory", "sub": "mallory"}),
    ],
)
def test_header_mode_ignores_the_authorizer(
    carol: User, make_event: Callable[..., dict[str, Any]], authorizer: dict[str, Any]
) -> None:
    event = make_event("GET", ALL, {"X-User-Id": carol.id}, None)
    event["requestContext"]["authorizer"] = authorizer
    assert invoke(event).json()["items"] == [carol.todos[1], carol.todos[0]]


def test_paths_below_a_base_path_mapping_of_a_rest_api_are_not_found(carol: User) -> None:
    event = rest_api_event("GET", ALL, {"X-User-Id": carol.id}, None, mapping="/todo-service")
    assert assert_problem(invoke(event), 404)["type"] == "urn:todo-api:problem:path-not-found"


@pytest.mark.parametrize("make_event", EVENTS.values(), ids=EVENTS)
def test_response_has_the_members_of_the_event_version_and_no_base64(
    make_event: Callable[..., dict[str, Any]], carol: User
) -> None:
    one = carol.todos[0]["id"]
    tag = carol("GET", f"{ALL}/{one}").headers["etag"]
    requests: list[tuple[int, Sent]] = [
        (200, ("GET", f"{ALL}/{one}", {}, None)),
        (200, ("GET", "/docs", {}, None)),
        (200, ("HEAD", "/health", {}, None)),
        (200, ("OPTIONS", ALL, {**ORIGIN, **PREFLIGHT}, None)),
        (201, ("POST", ALL, JSON, TODO)),
        (304, ("GET", f"{ALL}/{one}", {"If-None-Match": tag}, None)),
        (400, ("OPTIONS", ALL, {**PREFLIGHT, "Origin": "https://evil.example"}, None)),
        (404, ("GET", "/nowhere", {}, None)),
        (405, ("PUT", ALL, {}, None)),
        (422, ("POST", ALL, JSON, b"{}")),
        (204, ("DELETE", f"{ALL}/{one}", {}, None)),
    ]
    for status, (method, path, headers, body) in requests:
        event = make_event(method, path, {"X-User-Id": carol.id, **headers}, body)
        response = handle(event)
        assert response.pop("statusCode") == status
        assert response.pop("isBase64Encoded") is False
        assert bool(response.pop("body")) is (status not in (204, 304) and method != "HEAD")
        assert response.pop("headers").get("x-request-id") == (
            None if method == "OPTIONS" else REQUEST_ID
        )
        assert response == ({} if event.get("version") == "2.0" else {"multiValueHeaders": {}})


def test_request_id_is_the_clients_if_valid_and_the_gateways_otherwise(carol: User) -> None:
    for sent, used in [
        ("my-own_1.id", "my-own_1.id"),
        ("x" * 128, "x" * 128),
        ("x" * 129, REQUEST_ID),
        ("a b", REQUEST_ID),
        ("ü", REQUEST_ID),
        ("", REQUEST_ID),
    ]:
        response = carol("GET", "/v1/todos/nothing", headers={"X-Request-Id": sent})
        assert response.headers["x-request-id"] == used
        assert response.json()["request_id"] == used
