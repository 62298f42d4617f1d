"""No input whatsoever yields a 5xx: always a clear refusal, in the one shape of errors, echoing nothing."""

import json
import string
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.assertions import assert_problem
from tests.support.clients import Api
from tests.support.users import User
from todo_api.models.page import Cursor

pytestmark = pytest.mark.pooled

ONE = "/v1/todos/{id}"
ALL = "/v1/todos"

BODIES: dict[str, tuple[bytes, int]] = {
    "empty": (b"", 400),
    "white space": (b" \n", 400),
    "not JSON": (b"{title: 1}", 400),
    "two values": (b'{"title": "x"} {}', 400),
    "Latin-1": ('{"title": "ü"}'.encode("latin-1"), 400),
    "broken UTF-8": (b'{"title": "\xc3"}', 400),
    "a raw NUL": (b'{"title": "a\x00b"}', 400),
    "brackets without end": (b"[" * 60_000, 400),
    "deep nesting": (b'{"title": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", 400),
    "a number of 5,000 digits": (b'{"title": ' + b"9" * 5_000 + b"}", 400),
    "6 MB": (b'{"title": "' + b"x" * 6_000_000 + b'"}', 413),
    "one byte too much": (b'{"title": "x"}' + b" " * (65_536 - 13), 413),
    "null": (b"null", 422),
    "a number": (b"1", 422),
    "a string": (b'"s3cr3t-canary"', 422),
    "a list": (b'["s3cr3t-canary"]', 422),
    "10^400": (b'{"title": 1' + b"0" * 400 + b"}", 422),
    "NaN": (b'{"title": "x", "is_completed": NaN}', 422),
    "Infinity": (b'{"title": -Infinity}', 422),
    "an encoded surrogate": (b'{"title": "\xed\xa0\x80"}', 422),
    "1e999": (b'{"title": 1e999}', 422),
    "nesting": (b'{"title": ' + b"[" * 100 + b"]" * 100 + b"}", 422),
    "NUL": (rb'{"title": "s3cr3t-canary\u0000"}', 422),
    "NUL in a description": (rb'{"title": "x", "description": "s3cr3t-canary\u0000"}', 422),
    "a control character": (rb'{"title": "s3cr3t-canary\u001f."}', 422),
    "a control character at the end": (rb'{"title": "s3cr3t-canary\u001f"}', 422),
    "a line break in a title": (rb'{"title": "s3cr3t\ncanary"}', 422),
    "a lone carriage return": (rb'{"title": "x", "description": "a\rb"}', 422),
    "a lone surrogate": (rb'{"title": "s3cr3t-canary \ud800"}', 422),
    "a lone surrogate in a description": (rb'{"title": "x", "description": "\udfff"}', 422),
    "a lone surrogate in a key": (rb'{"title": "x", "\ud800": 1}', 422),
    "a blank title": (rb'{"title": " \t\u2003\u0085 "}', 422),
    "an empty title": (b'{"title": ""}', 422),
    "256 characters": (b'{"title": "' + b"x" * 256 + b'"}', 422),
    "2,001 characters": (b'{"title": "x", "description": "' + b"x" * 2_001 + b'"}', 422),
    "title null": (b'{"title": null}', 422),
    "title a number": (b'{"title": 5}', 422),
    "title a list": (b'{"title": ["s3cr3t-canary"]}', 422),
    "completion null": (b'{"title": "x", "is_completed": null}', 422),
    "completion 1": (b'{"title": "x", "is_completed": 1}', 422),
    "completion a string": (b'{"title": "x", "is_completed": "true"}', 422),
    "a description that is a number": (b'{"title": "x", "description": 0}', 422),
    "user_id": (b'{"title": "x", "user_id": "s3cr3t-canary"}', 422),
    "id": (b'{"title": "x", "id": "00000000-0000-4000-8000-000000000000"}', 422),
    "created_at": (b'{"title": "x", "created_at": "2020-01-01T00:00:00Z"}', 422),
    "a misspelt field": (b'{"title": "x", "is_done": true}', 422),
    "a field with a long name": (b'{"title": "x", "' + b"s3cr3t-canary" * 50 + b'": true}', 422),
    "a field with an empty name": (b'{"title": "x", "": true}', 422),
    "__class__": (b'{"title": "x", "__class__": "s3cr3t-canary"}', 422),
}


@pytest.mark.parametrize(("method", "path"), [("POST", ALL), ("PUT", ONE), ("PATCH", ONE)])
@pytest.mark.parametrize(("body", "status"), BODIES.values(), ids=BODIES)
def test_a_bad_body_is_refused_and_changes_nothing(
    alice: User, method: str, path: str, body: bytes, status: int
) -> None:
    """Proves the status of each kind of bad body, for each operation that takes one."""
    assert_problem(alice(method, path.format(id=alice.todos[0]["id"]), body=body), status)
    assert alice.list() == [alice.todos[1], alice.todos[0]]


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (b"{}", [("title", "Is required")]),
        (b"[]", [("", "Must be a JSON object")]),
        (
            b'{"title": " ", "description": 1, "is_done": 1, "is_completed": "no", "<b>": 1}',
            [
                ("title", "Must not be blank"),
                ("description", "Must be a string"),
                ("is_completed", "Must be true or false"),
                ("is_done", "Unknown field or parameter"),
                ("", "Unknown field or parameter"),
            ],
        ),
    ],
)
def test_every_invalid_field_is_named_at_once(alice: User, body: bytes, errors: list[tuple[str, str]]) -> None:
    """Proves that one answer tells all that is wrong, with names of unknown fields only where they are plain."""
    problem = assert_problem(alice("POST", ALL, body=body), 422)
    assert problem["errors"] == [{"in": "body", "field": field, "detail": detail} for field, detail in errors]


@pytest.mark.parametrize(
    "media_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json"]
)
def test_a_body_of_another_type_is_refused(alice: User, media_type: str) -> None:
    """Proves 415, also for a body without a type, and for a merge patch where none is taken."""
    for method, path in [("POST", ALL), ("PUT", ONE), ("PATCH", ONE)]:
        path = path.format(id=alice.todos[0]["id"])
        assert_problem(alice(method, path, json={"title": "x"}, headers={"Content-Type": media_type}), 415)
        answer = alice(method, path, json={"title": "x"}, headers={"Content-Type": media_type})
        accepted = "application/json, application/merge-patch+json" if method == "PATCH" else None
        assert answer.headers.get("accept-patch") == accepted  # RFC 5789, section 2.2
    merge_patch = {"Content-Type": "application/merge-patch+json"}
    assert_problem(alice("POST", ALL, json={"title": "x"}, headers=merge_patch), 415)


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;"])
def test_parameters_and_case_of_a_media_type_do_not_matter(alice: User, media_type: str) -> None:
    """Proves that the usual spellings of JSON's media type are taken."""
    assert alice("POST", ALL, json={"title": "x"}, headers={"Content-Type": media_type}).status == 201


IDS = ["1", "null", "%00", "..", "a%2Fb", "%F0%9F%A6%86", "0" * 36, "x" * 2_000, "{id}0", "{id}%00", "-{id}"]


@pytest.mark.parametrize("bad_id", IDS)
def test_a_bad_id_is_refused(alice: User, bad_id: str) -> None:
    """Proves that what is no UUID is no id; a slash makes it another path."""
    bad_id = bad_id.format(id=alice.todos[0]["id"])
    status = 404 if bad_id == "a%2Fb" else 422
    for method, suffix in [("GET", ""), ("DELETE", ""), ("POST", "/toggle")]:
        problem = assert_problem(alice(method, f"/v1/todos/{bad_id}{suffix}"), status)
        if status == 422:
            assert problem["errors"] == [{"in": "path", "field": "id", "detail": "Must be a UUID"}]


def test_what_python_reads_as_json_is_taken(alice: User) -> None:
    """Proves that encodings and keys given twice are the JSON parser's to judge: the last value of a key counts."""
    for body in ('\ufeff{"title": "x"}'.encode(), '{"title": "x"}'.encode("utf-16"), b'{"title": "y", "title": "x"}'):
        answer = alice("POST", ALL, body=body)
        assert (answer.status, answer.json()["title"]) == (201, "x")


def test_of_a_repeated_parameter_the_last_counts_and_single_todos_take_none(alice: User) -> None:
    """Proves what becomes of parameters that nobody needs."""
    assert alice.list("limit=2&limit=1") == [alice.todos[1]]
    assert alice.list("is_completed=true&is_completed=0") == [alice.todos[0]]
    assert alice("GET", f"/v1/todos/{alice.todos[0]['id']}?verbose=1").json() == alice.todos[0]


QUERIES = [
    *(f"limit={limit}" for limit in ["0", "-1", "101", "1" + "0" * 20, "9" * 5_000, "", "x", "1.5", "٣"]),
    *(f"is_completed={value}" for value in ["", "2", "null", "true%00"]),
    *(f"cursor={value}" for value in ["", "x", "A" * 35, "!" * 35, "A" * 10_000, "%00", "AQAABkTx-_Y", "ü"]),
    "complete=true",
    "s3cr3t-canary=1",
    "=1",
    "&&%%%",
    "user_id=bob",
    "%ff=%fe",
]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[:30])
def test_a_bad_parameter_is_refused(alice: User, query: str) -> None:
    """Proves 422 for each parameter of the list out of its range, misspelt or unknown."""
    if query == "s3cr3t-canary=1":
        answer = alice("GET", f"{ALL}?{query}")
        assert answer.json()["errors"] == [
            {"in": "query", "field": "s3cr3t-canary", "detail": "Unknown field or parameter"}
        ], "a plain name is what the caller needs to find the mistake"
        return
    problem = assert_problem(alice("GET", f"{ALL}?{query}"), 422)
    assert {error["in"] for error in problem["errors"]} == {"query"}


def test_a_cursor_belongs_to_its_filter_and_stays_as_it_was_made(alice: User) -> None:
    """Proves that a cursor is refused under another filter, or with a character changed."""
    alice.create("a third")
    cursor = alice("GET", f"{ALL}?limit=1").json()["next_cursor"]
    filtered = alice("GET", f"{ALL}?limit=1&is_completed=false").json()["next_cursor"]
    assert_problem(alice("GET", f"{ALL}?cursor={cursor}&is_completed=false"), 422)
    assert_problem(alice("GET", f"{ALL}?cursor={filtered}"), 422)
    assert_problem(alice("GET", f"{ALL}?cursor={filtered}&is_completed=true"), 422)
    for altered in (cursor + "A", cursor + "=", cursor[:-1], "B" + cursor[1:], cursor[:-1] + "_"):
        assert_problem(alice("GET", f"{ALL}?cursor={altered}"), 422)
    assert alice("GET", f"{ALL}?cursor={filtered}&is_completed=false").status == 200


def _texts() -> st.SearchStrategy[str]:
    """What looks like a cursor inside: three words in base64url."""
    times = st.datetimes().map(str) | st.sampled_from(["0001-01-01T00:00:00+14:00", "2026-11-20T09:30:00.123456Z"])
    words = st.tuples(times, st.uuids().map(str) | st.text(max_size=3), st.sampled_from(["None", "True", "0", ""]))
    return words.map(lambda each: urlsafe_b64encode(" ".join(each).encode()).decode().rstrip("="))


@given(st.binary(max_size=40) | st.text(string.ascii_letters + string.digits + "-_", max_size=100) | _texts())
def test_any_text_is_a_cursor_or_is_not(text: bytes | str) -> None:
    """Proves that reading a cursor ends with a cursor of the very same text, or with a ValueError."""
    text = text if isinstance(text, str) else text.decode("latin-1")
    try:
        cursor = Cursor.parse(text)
    except ValueError:
        return
    assert str(cursor) == text


USERS = ["", " ", "a b", "x" * 256, "ünï", "a\tb", "\x7f", "🦆"]


@pytest.mark.parametrize("user", USERS)
def test_a_bad_user_id_is_refused(either_api: Api, user: str) -> None:
    """Proves 401 and its challenge, for a missing user id and for what cannot be one."""
    answer = either_api("GET", ALL, user=user)
    assert_problem(answer, 401)
    assert answer.headers["www-authenticate"] == "X-User-Id"


@pytest.mark.parametrize(
    "user", ["!", "~" * 255, "auth0|5f7c8ec7c33c6c004bbafe82", "a,b", "';--", '"%s"', "\\", "%(x)s"]
)
def test_any_visible_ascii_is_a_user_id(either_api: Api, user: str) -> None:
    """Proves that what identity providers issue is taken, and kept apart from SQL."""
    created = either_api("POST", ALL, user=user, json={"title": "mine"})
    assert (created.status, created.json()["user_id"]) == (201, user)
    assert either_api("GET", ALL, user=user).json()["items"][0] == created.json()


def test_the_first_fault_in_the_contract_s_order_is_answered(either_api: Api) -> None:
    """Proves which error is told where several hold: 404, 405, 413, 415, 400, 401, 422."""
    text, large = {"Content-Type": "text/plain"}, b"x" * 70_000
    bad = "/v1/todos/1?x=1"
    assert_problem(either_api("PATCH", "/v1/nothing?x=1", body=large, headers=text), 404)
    assert_problem(either_api("POST", bad, body=large, headers=text), 405)
    assert_problem(either_api("PATCH", bad, body=large, headers=text), 413)
    assert_problem(either_api("PATCH", bad, body=b"{", headers=text), 415)
    assert_problem(either_api("PATCH", bad, body=b"{"), 400)
    assert_problem(either_api("PATCH", bad, body=b'{"title": 1}'), 401)
    assert_problem(either_api("PATCH", bad, body=b'{"title": 1}', user="somebody"), 422)


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/todos", "GET, HEAD, POST"),
        ("/v1/todos/{id}", "DELETE, GET, HEAD, PATCH, PUT"),
        ("/v1/todos/{id}/toggle", "POST"),
        ("/health", "GET, HEAD"),
        ("/ready", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(alice: User, path: str, methods: str) -> None:
    """Proves that `Allow` lists every method of the path, and each other method is 405."""
    for method in {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "FOO"} - set(
        methods.split(", ")
    ):
        answer = alice(method, path.format(id=alice.todos[0]["id"]))
        if method != "HEAD":
            assert_problem(answer, 405)
        assert (answer.status, answer.headers["allow"]) == (405, methods)


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/", "/v1/todos/", "/v10/todos", "//v1/todos", "/V1/todos", "/health/"]
)
def test_an_unknown_path_is_not_found(alice: User, path: str) -> None:
    """Proves that nothing is redirected or guessed."""
    assert assert_problem(alice("GET", path), 404)["type"] == "urn:todo-api:problem:path-not-found"


def test_operations_without_a_body_ignore_one(alice: User) -> None:
    """Proves that a client library that always sends a type or an empty object is not refused."""
    path = f"/v1/todos/{alice.todos[0]['id']}"
    assert alice("POST", f"{path}/toggle", body=b"{}").status == 200
    assert alice("POST", f"{path}/toggle", body=b"not json", headers={"Content-Type": "text/plain"}).status == 200
    assert alice("DELETE", path, body=b"").status == 204


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)
FIELDS = st.fixed_dictionaries({}, optional={"title": ANYTHING, "description": ANYTHING, "is_completed": ANYTHING})


def test_any_json_gets_an_answer_that_is_no_fault_of_ours(carol: User, *, soak: bool) -> None:
    """Proves 2xx or 4xx for whatever JSON, in and around the fields that there are."""

    @settings(max_examples=5_000 if soak else 200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(ANYTHING | FIELDS, st.sampled_from([("POST", ALL), ("PUT", ONE), ("PATCH", ONE)]))
    def check(value: Any, operation: tuple[str, str]) -> None:
        method, path = operation
        answer = carol(method, path.format(id=carol.todos[0]["id"]), body=json.dumps(value))
        assert answer.status in (200, 201) or assert_problem(answer, answer.status)
        assert answer.status < 500

    check()
