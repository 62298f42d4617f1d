"""The query of the list: its parameters, and cursors."""

import json
from base64 import urlsafe_b64encode
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.http.assertions import assert_problem
from tests.support.http.users import User
from todo_api.models.page import Cursor

ALL = "/v1/todos"


def test_last_repeated_parameter_counts_and_retrieve_ignores_parameters(alice: User) -> None:
    assert alice.list("limit=2&limit=1") == [alice.todos[1]]
    assert alice.list("is_completed=true&is_completed=0") == [alice.todos[0]]
    assert alice("GET", f"/v1/todos/{alice.todos[0]['id']}?verbose=1").json() == alice.todos[0]


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("query", "same"),
    [
        ("cursor=&limit=&is_completed=", ""),
        ("cursor", ""),
        ("limit=1&limit=", "limit=1"),
        ("limit=&limit=1", "limit=1"),
        ("limit=2&limit=1&limit=", "limit=1"),
        ("is_completed=true&is_completed=", "is_completed=true"),
        ("limit=1&cursor={cursor}&cursor=", "limit=1&cursor={cursor}"),
    ],
)
def test_an_empty_parameter_is_an_absent_one(alice: User, query: str, same: str) -> None:
    cursor = alice("GET", "/v1/todos?limit=1").json()["next_cursor"]
    expected = alice("GET", f"/v1/todos?{same.format(cursor=cursor)}")
    response = alice("GET", f"/v1/todos?{query.format(cursor=cursor)}")
    assert (response.status, response.json()) == (200, expected.json())


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


CURSORS = st.builds(
    Cursor,
    st.datetimes(timezones=st.just(UTC)),
    st.uuids(),
    st.dictionaries(st.text(), st.text()),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
)
# As a cursor, but with a space in the time where a cursor has a "T".
ALMOST_CURSORS = st.tuples(st.datetimes().map(str), st.uuids().map(str), JSON)


@settings(deadline=None)
@given(CURSORS)
def test_parsing_the_text_of_a_cursor_returns_the_cursor(cursor: Cursor) -> None:
    assert Cursor.parse(str(cursor)) == cursor


@settings(deadline=None)
@given(JSON | ALMOST_CURSORS)
def test_base64url_of_any_json_without_a_cursor_raises_value_error(value: Any) -> None:
    text = urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
    with pytest.raises(ValueError, match="Must be a next_cursor of this list"):
        Cursor.parse(text)
