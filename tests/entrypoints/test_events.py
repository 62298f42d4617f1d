"""The same request gives the same answer, whichever way it comes in."""

import re
import string
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.support.assertions import assert_problem
from tests.support.clients import Api, Response, handle, invoke
from tests.support.events import REQUEST_ID, function_url_event, http_api_event, rest_api_event
from tests.support.users import User

pytestmark = pytest.mark.pooled

ALL = "/v1/todos"
ID = "c0ffee00-1234-4abc-9def-0123456789ab"
ONE = f"{ALL}/{ID}"
TAG = '"2026-11-20T09:30:00.123456Z"'
JSON = {"Content-Type": "application/json"}
ORIGIN = {"Origin": "https://app.example"}
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-user-id"}
TODO = b'{"title": "Gr\xc3\xbc\xc3\x9fe \xf0\x9f\x8c\xb1", "description": "", "is_completed": true}'

Request = tuple[str, str, dict[str, str], bytes | None]

READS: list[Request] = [
    ("GET", "/health", {}, None),
    ("HEAD", "/health", {}, None),
    ("HEAD", ALL, {}, None),
    ("HEAD", ONE, {}, None),
    ("HEAD", f"{ONE}/toggle", {}, None),
    ("HEAD", "/nowhere", {}, None),
    ("GET", "/health?x=1", {}, None),
    ("GET", "/ready", {}, None),
    ("GET", "/openapi.json", {}, None),
    ("GET", "/docs", {}, None),
    ("GET", "/", {}, None),
    ("GET", "/nowhere", {}, None),
    ("GET", "//v1//todos", {}, None),
    ("GET", "/V1/todos", {}, None),
    ("GET", ALL, {}, None),
    ("GET", f"{ALL}/", {}, None),
    ("GET", f"{ALL}?", {}, None),
    ("GET", f"{ALL}?limit=1", {}, None),
    ("GET", f"{ALL}?limit=0", {}, None),
    ("GET", f"{ALL}?limit=1&limit=2", {}, None),
    ("GET", f"{ALL}?limit=1&limit=1", {}, None),
    ("GET", f"{ALL}?limit=1,2", {}, None),
    ("GET", f"{ALL}?limit", {}, None),
    ("GET", f"{ALL}?limit=%31", {}, None),
    ("GET", f"{ALL}?limit=%2531", {}, None),
    ("GET", f"{ALL}?limit=+1", {}, None),
    ("GET", f"{ALL}?limit=%2B1", {}, None),
    ("GET", f"{ALL}?limit=1;limit=2", {}, None),
    ("GET", f"{ALL}?is_completed=true&limit=2", {}, None),
    ("GET", f"{ALL}?is%5Fcompleted=tr%75e", {}, None),
    ("GET", f"{ALL}?cursor=", {}, None),
    ("GET", f"{ALL}?cursor=AAAA%3D", {}, None),
    ("GET", f"{ALL}?complete=true&%F0%9F%8C%B1=%FF", {}, None),
    ("GET", ONE, {}, None),
    ("GET", ONE.upper().replace("/V1/TODOS", ALL), {}, None),
    ("GET", ONE.replace("-", "%2D"), {}, None),
    ("GET", ONE.replace("/", "%2F"), {}, None),
    ("GET", f"{ONE}/", {}, None),
    ("GET", f"{ONE}?x=1", {}, None),
    ("GET", f"{ONE}#fragment".replace("#", "%23"), {}, None),
    ("GET", f"{ALL}/not-a-uuid", {}, None),
    ("GET", f"{ALL}/a%2Fb", {}, None),
    ("GET", f"{ALL}/%20{ID}", {}, None),
    ("GET", f"{ALL}/+{ID}", {}, None),
    ("GET", f"{ALL}/%CE%BB", {}, None),
    ("GET", f"{ALL}/{ID[:-1]}c", {}, None),
    ("GET", ONE, {"If-None-Match": TAG}, None),
    ("GET", ONE, {"If-None-Match": f"W/{TAG}"}, None),
    ("GET", ONE, {"If-Match": '"other"'}, None),
    ("GET", ONE, {"If-Match": "not a tag"}, None),
    ("GET", ONE, {"Cookie": "session=abc123; theme=dark"}, None),
    ("GET", ONE, {"X-User-Id": "somebody-else"}, None),
    ("GET", ALL, {"X-User-Id": ""}, None),
    ("GET", ALL, {"X-User-Id": "a b"}, None),
    ("GET", ALL, {"X-User-Id": "a\u00fc"}, None),
    ("GET", ALL, {"X-User-Id": "x" * 256}, None),
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
"""Requests that change nothing, so that two answers to one of them are the same to the byte."""

WRITES: list[Request] = [
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

MADE_ANEW = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[0-9:.]{15}Z")
"""Ids and times, which entity tags are made of."""


def _comparable(answer: Response, *, written: bool) -> tuple[int, dict[str, str], str]:
    headers, body = dict(answer.headers), answer.body.decode()
    if answer.status in (204, 304):
        headers.pop("content-type", None)  # Mangum declares one even where there is no body
    if written:
        headers = {name: MADE_ANEW.sub("*", value) for name, value in headers.items()}
        body = MADE_ANEW.sub("*", body)
    return answer.status, headers, body


@pytest.mark.parametrize("requests", [READS, WRITES], ids=["reads", "writes"])
def test_an_http_api_and_the_local_server_answer_alike(
    lambda_api: Api, local_api: Api, sql: Callable[..., Any], requests: list[Request]
) -> None:
    """Equality of status, all header fields of ours, and body, for each request on the same rows."""
    statuses = set()
    for method, path, headers, body in requests:
        answers = []
        for way in (lambda_api, local_api):
            sql(
                "INSERT INTO users VALUES ('pat') ON CONFLICT DO NOTHING; DELETE FROM todos WHERE user_id = 'pat';"
                "INSERT INTO todos (user_id, id, title, created_at, updated_at, idempotency_key, request_hash) VALUES"
                "('pat', %s, 'First', '2026-11-20 09:30:00.123456Z', '2026-11-20 09:30:00.123456Z', NULL, NULL),"
                "('pat', %s, 'Second', '2026-11-20 09:29Z', '2026-11-20 09:29Z', 'a-key', '')",
                *(ID, ID.replace("c0ffee", "decade")),
            )
            fields = {"X-Request-Id": "the-same", "X-User-Id": "pat"} | headers
            answers.append(_comparable(way(method, path, headers=fields, body=body), written=requests is WRITES))
        assert answers[0] == answers[1], (method, path, headers, body)
        statuses.add(answers[0][0])
    of_reads, of_writes = {200, 304, 400, 401, 404, 405, 422}, {200, 201, 204, 400, 401, 404, 412, 413, 415, 422}
    assert statuses == (of_reads if requests is READS else of_writes)


# --- each way ---------------------------------------------------------------------------------------------------------

FORMS: dict[str, Callable[..., dict[str, Any]]] = {
    "HTTP API": http_api_event,
    "HTTP API, body in base64": partial(http_api_event, base64=True),
    "REST API": rest_api_event,
    "function URL": function_url_event,
}
"""The events that the handler may be given, by what sends them."""


@pytest.fixture(params=[*FORMS, "local server"])
def way(request: pytest.FixtureRequest, lambda_api: Api, local_api: Api) -> Api:
    """The API, through each way in turn. Asking for `lambda_api` also sets the handler's environment."""
    if request.param == "local server":
        return local_api
    assert lambda_api
    form = FORMS[request.param]
    return Api(lambda *parts: invoke(form(*parts)))


def test_a_todo_lives_its_life_through_each_way(way: Api) -> None:
    """Every operation, with what each takes from path, query, header and body."""
    user = "grace"
    created = way("POST", ALL, user=user, body=TODO, headers={"Idempotency-Key": "1"})
    todo = created.json()
    path = f"{ALL}/{todo['id']}"
    assert created.status == 201
    assert created.headers["location"] == path
    assert (todo["title"], todo["description"], todo["is_completed"]) == ("Grüße 🌱", "", True)
    replayed = way("POST", ALL, user=user, body=TODO, headers={"Idempotency-Key": "1"})
    assert (replayed.json(), replayed.headers["idempotency-replayed"]) == (todo, "true")
    page = way("GET", f"{ALL}?limit=100&is_completed=true", user=user).json()
    assert page == {"items": [todo], "next_cursor": None}
    assert way("GET", f"{ALL}?limit=0&limit=1", user=user).status == 200
    same = way("GET", path, user=user, headers={"If-None-Match": created.headers["etag"]})
    assert (same.status, same.body) == (304, b"")
    put = way("PUT", path, user=user, json={"title": "x"}, headers={"If-Match": created.headers["etag"]})
    assert put.status == 200
    late = way("PATCH", path, user=user, json={"title": "y"}, headers={"If-Match": created.headers["etag"]})
    assert_problem(late, 412)
    assert way("PATCH", path, user=user, json={"description": "ä"}).json()["description"] == "ä"
    assert way("POST", f"{path}/toggle", user=user).json()["is_completed"] is True
    assert way("POST", path, user=user).headers["allow"] == "DELETE, GET, HEAD, PATCH, PUT"
    assert_problem(way("GET", f"{path}/", user=user), 404)
    deleted = way("DELETE", path, user=user)
    assert (deleted.status, deleted.body) == (204, b"")
    assert_problem(way("GET", path, user=user), 404)
    assert [way(method, "/health").status for method in ("GET", "HEAD")] == [200, 200]
    assert way("GET", "/ready").status == 200


VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
USER_IDS = [VISIBLE, VISIBLE[::-1], "~" * 255, (VISIBLE * 3)[:255], ",", '"', "%2C", "a,b"]


def test_each_user_id_survives_each_way(way: Api, sql: Callable[..., Any]) -> None:
    """All visible ASCII characters, and 255 of them, reach the database and come back unchanged."""
    sql("DELETE FROM todos WHERE user_id = ANY(%s)", USER_IDS)
    for user in USER_IDS:
        created = way("POST", ALL, user=user, json={"title": "mine"})
        assert (created.status, created.json()["user_id"]) == (201, user)
        path = created.headers["location"]
        assert [todo["id"] for todo in way("GET", ALL, user=user).json()["items"]] == [path.rpartition("/")[2]]
        assert way("DELETE", path, user=user).status == 204


def test_each_cursor_survives_each_way(way: Api, sql: Callable[..., Any]) -> None:
    """A walk misses and repeats nothing, and that no character of a cursor is ever escaped."""
    sql("INSERT INTO users VALUES ('walker') ON CONFLICT DO NOTHING; DELETE FROM todos WHERE user_id = 'walker'")
    sql(
        "INSERT INTO todos (id, user_id, title, created_at) SELECT md5(n::text)::uuid, 'walker', 'x', "
        "timestamptz '2026-11-20Z' - n * interval '1 hour 1 second 1 microsecond' FROM generate_series(1, 20) AS n"
    )
    expected = [str(row[0]) for row in sql("SELECT md5(n::text)::uuid FROM generate_series(1, 20) AS n")]
    found, cursors, query = [], "", "?limit=1"
    while query:
        page = way("GET", f"{ALL}{query}", user="walker").json()
        found += [todo["id"] for todo in page["items"]]
        cursors += page["next_cursor"] or ""
        query = page["next_cursor"] and f"?limit=1&cursor={page['next_cursor']}"
    assert found == expected
    assert set(cursors) <= set(string.ascii_letters + string.digits + "-_")


# --- events and responses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorizer",
    [
        {"jwt": {"claims": {"sub": "mallory", "iss": "https://issuer.example"}, "scopes": ["email"]}},
        {"jwt": {"claims": {"sub": "mallory"}, "scopes": None}},
        {"lambda": {"sub": "mallory"}},
        {"lambda": None},
        {"iam": {"accessKey": "ARIA", "accountId": "1234567890", "userId": "mallory", "cognitoIdentity": None}},
    ],
)
def test_an_authorizer_makes_no_difference_in_header_mode(carol: User, authorizer: dict[str, Any]) -> None:
    """Whatever an authorizer leaves in the event, the header names the user."""
    event = http_api_event("GET", ALL, {"X-User-Id": carol.id}, None, authorizer=authorizer)
    assert invoke(event).json()["items"] == [carol.todos[1], carol.todos[0]]


def test_a_base_path_of_a_rest_api_is_not_taken_off(carol: User) -> None:
    """What the specification says of base path mappings: nothing is found below one."""
    event = rest_api_event("GET", ALL, {"X-User-Id": carol.id}, None, mapping="/todo-service")
    assert assert_problem(invoke(event), 404)["type"] == "urn:todo-api:problem:path-not-found"


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_response_is_of_the_form_that_the_event_asks_for(form: Callable[..., dict[str, Any]], carol: User) -> None:
    """Its members, that no body goes out as base64."""
    one = carol.todos[0]["id"]
    tag = carol("GET", f"{ALL}/{one}").headers["etag"]
    requests: list[tuple[int, Request]] = [
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
        event = form(method, path, {"X-User-Id": carol.id, **headers}, body)
        response = handle(event)
        assert response.pop("statusCode") == status
        assert response.pop("isBase64Encoded") is False
        assert bool(response.pop("body")) is (status not in (204, 304) and method != "HEAD")
        assert response.pop("headers").get("x-request-id") == (None if method == "OPTIONS" else REQUEST_ID)
        assert response == ({} if event.get("version") == "2.0" else {"multiValueHeaders": {}})


def test_the_request_id_is_the_client_s_own_or_the_gateway_s(carol: User) -> None:
    """Where the id comes from, and that an odd one of a client is not taken over."""
    for offered, used in [
        ("my-own_1.id", "my-own_1.id"),
        ("x" * 128, "x" * 128),
        ("x" * 129, REQUEST_ID),
        ("a b", REQUEST_ID),
        ("ü", REQUEST_ID),
        ("", REQUEST_ID),
    ]:
        answer = carol("GET", "/v1/todos/nothing", headers={"X-Request-Id": offered})
        assert answer.headers["x-request-id"] == used
        assert answer.json()["request_id"] == used
