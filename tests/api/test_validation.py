"""Validation of input.

Invalid input is rejected with 4xx, never 5xx, in the common error format, without echoing it.
"""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.documents.openapi import DOCUMENT
from tests.support.http.assertions import assert_problem
from tests.support.http.clients import Api
from tests.support.http.users import User

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
        (
            "POST",
            ALL,
            b'{"title": "\\ud800"}',
            [("body", "title", "Must not contain lone surrogates")],
        ),
        ("GET", f"{ALL}?limit=abc", None, [("query", "limit", "Must be a whole number")]),
        (
            *("GET", f"{ALL}?is_completed=null", None),
            [("query", "is_completed", "Must be true or false")],
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


def test_at_most_20_errors_are_reported(alice: User) -> None:
    fields = ", ".join(f'"a{number}": 1' for number in range(5_000))
    response = alice("POST", ALL, body=f"{{{fields}}}".encode())
    errors = assert_problem(response, 422)["errors"]
    assert [error["field"] for error in errors] == ["title", *(f"a{n}" for n in range(19))]


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
    "path",
    [
        *("/", "/v1", "/v1/", "/v1/todos/", "/v10/todos", "//v1/todos", "/V1/todos", "/health/"),
        *("/health%0A", "/ready%0A", "/v1/todos%0A", "/v1/todos%0A%0A"),
    ],
)
def test_unknown_path_returns_404_without_a_redirect(alice: User, path: str) -> None:
    assert assert_problem(alice("GET", path), 404)["type"] == "urn:todo-api:problem:path-not-found"


def test_operations_without_a_body_ignore_one_of_up_to_65536_bytes(alice: User) -> None:
    path = alice.first_path
    assert alice("POST", f"{path}/toggle", body=b"{}").status == 200
    text = {"Content-Type": "text/plain"}
    assert alice("POST", f"{path}/toggle", body=b"not json", headers=text).status == 200
    assert alice("POST", f"{path}/toggle", body=b" " * 65_536).status == 200
    assert_problem(alice("POST", f"{path}/toggle", body=b" " * 65_537), 413)
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
