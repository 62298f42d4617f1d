"""Validation of input.

Invalid input is rejected with 4xx, never 5xx, in the common error format, without echoing it.
"""

import json
import string
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.documents.openapi import DOCUMENT
from tests.support.http.assertions import assert_problem
from tests.support.http.clients import Api
from tests.support.http.users import User
from todo_api.models.page import Cursor

METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "FOO"}
ONE = "/v1/todos/{id}"
ALL = "/v1/todos"
WITH_BODY = [("POST", ALL), ("PUT", ONE), ("PATCH", ONE)]

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
    "completion 1": (b'{"title": "x", "is_completed": 1}', 422),
    "completion a string": (b'{"title": "x", "is_completed": "true"}', 422),
    "a description that is a number": (b'{"title": "x", "description": 0}', 422),
    "a field of the database": (b'{"title": "x", "idempotency_key": "s3cr3t-canary"}', 422),
    "a misspelled field": (b'{"title": "x", "is_done": true}', 422),
    "a field with a long name": (b'{"title": "x", "' + b"s3cr3t-canary" * 50 + b'": true}', 422),
    "a field with an empty name": (b'{"title": "x", "": true}', 422),
    "__class__": (b'{"title": "x", "__class__": "s3cr3t-canary"}', 422),
}


@pytest.mark.parametrize(("body", "status"), BODIES.values(), ids=BODIES)
def test_invalid_body_is_rejected_and_changes_nothing(
    alice: User, body: bytes, status: int
) -> None:
    for method, path in WITH_BODY:
        assert_problem(alice(method, path.format(id=alice.todos[0]["id"]), body=body), status)
    assert alice.list() == [alice.todos[1], alice.todos[0]]


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("method", "path", "body", "errors"),
    [
        ("POST", ALL, b"{}", [("body", "title", "Is required")]),
        ("POST", ALL, b"[]", [("body", "", "Must be a JSON object")]),
        (
            *(
                "POST",
                ALL,
                b'{"title": " ", "description": 1, "is_done": 1, "is_completed": "no", "<b>": 1}',
            ),
            [
                ("body", "title", "Must not be blank"),
                ("body", "description", "Must be a string"),
                ("body", "is_completed", "Must be true or false"),
                ("body", "is_done", "Unknown field or parameter"),
                ("body", "", "Unknown field or parameter"),
            ],
        ),
        # A simple name is repeated, so that the caller finds the mistake.
        ("GET", f"{ALL}?complete=1", None, [("query", "complete", "Unknown field or parameter")]),
    ],
)
def test_all_invalid_parts_are_reported_at_once(
    alice: User, method: str, path: str, body: bytes | None, errors: list[tuple[str, str, str]]
) -> None:
    problem = assert_problem(alice(method, path, body=body), 422)
    assert [tuple(error.values()) for error in problem["errors"]] == errors


@pytest.mark.parametrize(
    "media_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json"],
)
def test_missing_or_unsupported_media_type_is_rejected(alice: User, media_type: str) -> None:
    for method, path in WITH_BODY:
        path = path.format(id=alice.todos[0]["id"])
        response = alice(method, path, json={"title": "x"}, headers={"Content-Type": media_type})
        assert_problem(response, 415)
        accepted = "application/json, application/merge-patch+json" if method == "PATCH" else None
        assert response.headers.get("accept-patch") == accepted  # RFC 5789, section 2.2
    merge_patch = {"Content-Type": "application/merge-patch+json"}  # only PATCH accepts it
    assert_problem(alice("POST", ALL, json={"title": "x"}, headers=merge_patch), 415)


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;"]
)
def test_parameters_and_case_of_the_media_type_are_ignored(alice: User, media_type: str) -> None:
    content_type = {"Content-Type": media_type}
    assert alice("POST", ALL, json={"title": "x"}, headers=content_type).status == 201


INVALID_IDS = [
    "1",
    "null",
    "%00",
    "..",
    "a%2Fb",
    "%F0%9F%A6%86",
    "0" * 36,
    "x" * 2_000,
    "{id}0",
    "{id}%00",
    "-{id}",
]


@pytest.mark.parametrize("bad_id", INVALID_IDS)
def test_invalid_todo_id_is_rejected(alice: User, bad_id: str) -> None:
    bad_id = bad_id.format(id=alice.todos[0]["id"])
    # %2F is decoded to a slash, which makes another path.
    status = 404 if bad_id == "a%2Fb" else 422
    for method, suffix in [("GET", ""), ("DELETE", ""), ("POST", "/toggle")]:
        problem = assert_problem(alice(method, f"/v1/todos/{bad_id}{suffix}"), status)
        if status == 422:
            assert problem["errors"] == [{"in": "path", "field": "id", "detail": "Must be a UUID"}]


def test_bom_utf_16_and_duplicate_keys_are_accepted(alice: User) -> None:
    for body in (
        '\ufeff{"title": "x"}'.encode(),
        '{"title": "x"}'.encode("utf-16"),
        b'{"title": "y", "title": "x"}',
    ):
        response = alice("POST", ALL, body=body)
        assert (response.status, response.json()["title"]) == (201, "x")


def test_last_repeated_parameter_counts_and_retrieve_ignores_parameters(alice: User) -> None:
    assert alice.list("limit=2&limit=1") == [alice.todos[1]]
    assert alice.list("is_completed=true&is_completed=0") == [alice.todos[0]]
    assert alice("GET", f"/v1/todos/{alice.todos[0]['id']}?verbose=1").json() == alice.todos[0]


QUERIES = [
    *(
        f"limit={limit}"
        for limit in ["0", "-1", "101", "1" + "0" * 20, "9" * 5_000, "x", "1.5", "٣"]
    ),
    *(f"is_completed={value}" for value in ["2", "null", "true%00"]),
    *(
        f"cursor={value}"
        for value in ["x", "A" * 35, "!" * 35, "A" * 10_000, "%00", "AQAABkTx-_Y", "ü"]
    ),
    "=1",
    "&&%%%",
    "user_id=bob",
    "user_id=",
    "Limit=",
    "%ff=%fe",
]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[:30])
def test_invalid_query_parameter_is_rejected(alice: User, query: str) -> None:
    problem = assert_problem(alice("GET", f"{ALL}?{query}"), 422)
    assert {error["in"] for error in problem["errors"]} == {"query"}


def test_cursor_with_another_filter_or_changed_text_is_rejected(alice: User) -> None:
    alice.create("a third")
    cursor = alice("GET", f"{ALL}?limit=1").json()["next_cursor"]
    filtered = alice("GET", f"{ALL}?limit=1&is_completed=false").json()["next_cursor"]
    assert_problem(alice("GET", f"{ALL}?cursor={cursor}&is_completed=false"), 422)
    assert_problem(alice("GET", f"{ALL}?cursor={filtered}"), 422)
    assert_problem(alice("GET", f"{ALL}?cursor={filtered}&is_completed=true"), 422)
    for changed in (cursor + "A", cursor + "=", cursor[:-1], "B" + cursor[1:], cursor[:-1] + "_"):
        assert_problem(alice("GET", f"{ALL}?cursor={changed}"), 422)
    assert alice("GET", f"{ALL}?cursor={filtered}&is_completed=false").status == 200


def _texts() -> st.SearchStrategy[str]:
    """Generate texts that resemble cursors: three words in base64url."""
    times = st.datetimes().map(str) | st.sampled_from(
        ["0001-01-01T00:00:00+14:00", "2026-11-20T09:30:00.123456Z"]
    )
    words = st.tuples(
        times, st.uuids().map(str) | st.text(max_size=3), st.sampled_from(["None", "True", "0", ""])
    )
    return words.map(lambda each: urlsafe_b64encode(" ".join(each).encode()).decode().rstrip("="))


@given(
    st.binary(max_size=40)
    | st.text(string.ascii_letters + string.digits + "-_", max_size=100)
    | _texts()
)
def test_parsing_a_cursor_round_trips_or_raises_value_error(text: bytes | str) -> None:
    text = text if isinstance(text, str) else text.decode("latin-1")
    try:
        cursor = Cursor.parse(text)
    except ValueError:
        return
    assert str(cursor) == text


@pytest.mark.smoke
def test_first_error_in_the_documented_order_is_returned(either_api: Api) -> None:
    text = {"Content-Type": "text/plain"}
    large = b"x" * 70_000
    bad = "/v1/todos/1?x=1"
    assert_problem(either_api("PATCH", "/v1/nothing?x=1", body=large, headers=text), 404)
    assert_problem(either_api("POST", bad, body=large, headers=text), 405)
    assert_problem(either_api("PATCH", bad, body=large, headers=text), 413)
    assert_problem(either_api("PATCH", bad, body=b"{", headers=text), 415)
    assert_problem(either_api("PATCH", bad, body=b"{"), 400)
    assert_problem(either_api("PATCH", bad, body=b'{"title": 1}'), 401)
    assert_problem(either_api("PATCH", bad, body=b'{"title": 1}', user="somebody"), 422)


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_unsupported_method_returns_405_and_lists_the_supported_ones(
    alice: User, path: str
) -> None:
    supported = {method.upper() for method in DOCUMENT["paths"][path]}
    if "GET" in supported:
        supported.add("HEAD")
    methods = ", ".join(sorted(supported))
    for method in METHODS - supported:
        response = alice(method, path.format(id=alice.todos[0]["id"]))
        if method != "HEAD":
            assert_problem(response, 405)
        assert (response.status, response.headers["allow"]) == (405, methods)


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/", "/v1/todos/", "/v10/todos", "//v1/todos", "/V1/todos", "/health/"]
)
def test_unknown_path_returns_404_without_a_redirect(alice: User, path: str) -> None:
    assert assert_problem(alice("GET", path), 404)["type"] == "urn:todo-api:problem:path-not-found"


def test_operations_without_a_body_ignore_a_sent_one(alice: User) -> None:
    path = alice.first_path
    assert alice("POST", f"{path}/toggle", body=b"{}").status == 200
    text = {"Content-Type": "text/plain"}
    assert alice("POST", f"{path}/toggle", body=b"not json", headers=text).status == 200
    assert alice("DELETE", path, body=b"").status == 204


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)
FIELDS = st.fixed_dictionaries(
    {}, optional={"title": ANYTHING, "description": ANYTHING, "is_completed": ANYTHING}
)


def test_any_json_returns_2xx_or_4xx(carol: User, *, soak: bool) -> None:
    @settings(
        max_examples=5_000 if soak else 100, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(ANYTHING | FIELDS, st.sampled_from(WITH_BODY))
    def check(value: Any, operation: tuple[str, str]) -> None:
        method, path = operation
        response = carol(method, path.format(id=carol.todos[0]["id"]), body=json.dumps(value))
        assert response.status in (200, 201) or assert_problem(response, response.status)
        assert response.status < 500

    check()


def test_a_body_of_exactly_65536_bytes_is_accepted(carol: User) -> None:
    assert carol("POST", "/v1/todos", body=b'{"title": "x"}' + b" " * (65_536 - 14)).status == 201
