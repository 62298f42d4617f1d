"""Pages: complete and stable during writes, and one index scan per page."""

from collections.abc import Iterator
from operator import itemgetter
from typing import Any

import pytest

from dev.lab.proxy import TrafficCounter
from tests.support.http.clients import Api
from tests.support.http.users import User
from todo_api.models.page import Cursor

pytestmark = pytest.mark.pooled


def _pages(user: User, parameters: str) -> Iterator[list[dict[str, Any]]]:
    cursor = ""
    for _ in range(100):
        response = user("GET", f"/v1/todos?{parameters}{cursor}")
        assert response.status == 200, response
        page = response.json()
        yield page["items"]
        if page["next_cursor"] is None:
            return
        cursor = f"&cursor={page['next_cursor']}"
    raise AssertionError("there is no last page")


@pytest.mark.parametrize(
    "created_at", ["created_at", "timestamptz '2026-01-01'"], ids=["different", "equal"]
)
def test_pages_of_every_size_together_are_the_whole_list(
    alice: User, bob: User, sql: Any, created_at: str
) -> None:
    """The list is ordered by creation time, and todos with equal times by ID."""
    for number in range(5):
        alice.create(f"todo {number}")
        bob.create(f"todo {number}")
    # `created_at` is no user input.
    sql(f"UPDATE todos SET created_at = {created_at} WHERE user_id = %s", alice.id)  # noqa: S608
    everything = alice.list()
    assert len(everything) == 7
    assert everything == sorted(everything, key=itemgetter("created_at", "id"), reverse=True)
    for limit in range(1, 9):
        pages = list(_pages(alice, f"limit={limit}"))
        assert [todo for page in pages for todo in page] == everything
        assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
        assert pages[-1], "a full last page must not be followed by an empty one"


def test_page_size_is_50_by_default_and_100_on_request(carol: User, sql: Any) -> None:
    sql("INSERT INTO todos (user_id, title) SELECT %s, 'x' FROM generate_series(1, 100)", carol.id)
    assert len(carol("GET", "/v1/todos").json()["items"]) == 50
    assert len(carol("GET", "/v1/todos?limit=100").json()["items"]) == 100


def test_paging_during_writes_repeats_and_misses_nothing(alice: User) -> None:
    to_delete = [alice.create(f"to delete {number}") for number in range(4)]
    staying = [alice.create(f"staying {number}") for number in range(16)]
    seen: list[str] = []
    for page in _pages(alice, "limit=4"):
        seen += [todo["id"] for todo in page]
        alice.create("added meanwhile")
        if to_delete:
            assert alice("DELETE", f"/v1/todos/{to_delete.pop()['id']}").status == 204
        for todo in (page[0], page[-1], staying[0]):  # the cursor points to page[-1]
            alice("PATCH", f"/v1/todos/{todo['id']}", json={"title": "changed meanwhile"})
        alice("DELETE", f"/v1/todos/{page[-1]['id']}")
        staying = [todo for todo in staying if todo["id"] != page[-1]["id"]]
    assert len(seen) == len(set(seen))
    assert {todo["id"] for todo in staying} <= set(seen)


def test_filtered_paging_misses_no_todo_that_matches_throughout(alice: User) -> None:
    matching = [alice.create(f"open {number}") for number in range(9)]
    toggled = [
        alice.create(f"toggled {number}", is_completed=bool(number % 2)) for number in range(9)
    ]
    seen: list[str] = []
    for page in _pages(alice, "limit=3&is_completed=false"):
        seen += [todo["id"] for todo in page]
        for todo in toggled[:3]:
            alice("POST", f"/v1/todos/{todo['id']}/toggle")
        toggled = toggled[1:]
    assert len(seen) == len(set(seen))
    assert {todo["id"] for todo in matching} <= set(seen)


def test_page_is_one_index_scan_without_a_sort(
    sql: Any, lambda_api: Api, wire: TrafficCounter
) -> None:
    sql("INSERT INTO users SELECT 'plan' || n FROM generate_series(1, 20) n UNION SELECT 'plan'")
    sql(
        "INSERT INTO todos (user_id, title, is_completed, created_at) "
        "SELECT CASE WHEN n % 2 = 0 THEN 'plan' ELSE 'plan' || n % 20 + 1 END, 'x', n % 7 = 0, "
        "now() - n * interval '1 second' FROM generate_series(1, 40000) n"
    )
    sql("ANALYZE todos")
    ((created_at, todo_id),) = sql(
        "SELECT created_at, id FROM todos WHERE user_id = 'plan' "
        "ORDER BY created_at DESC, id DESC OFFSET 9989 LIMIT 1"
    )
    for is_completed, index in [
        (None, "todos_by_user"),
        (False, "todos_by_user_and_completion"),
        (True, "todos_by_user_and_completion"),
    ]:
        filter_ = "" if is_completed is None else f"&is_completed={is_completed}"
        filters = {} if is_completed is None else {"is_completed": str(is_completed)}
        for cursor in ("", f"&cursor={Cursor(created_at, todo_id, filters)}"):
            with wire.watch() as traffic:
                path = f"/v1/todos?limit=10{filter_}{cursor}"
                assert lambda_api("GET", path, user="plan").status == 200
            session_setup, select = traffic.statements[0].split("; ")
            ((plan,),) = sql(f"{session_setup}; EXPLAIN (ANALYZE, FORMAT JSON) {select}")
            limit, result, scan = _nodes(plan[0]["Plan"])
            assert [node["Node Type"] for node in (limit, result, scan)] == [
                "Limit",
                "Result",
                "Index Scan",
            ], plan
            # PostgreSQL evaluates the row-level security policy once, in the Result node, before it
            # reads a row.
            assert "One-Time Filter" in result
            assert "Filter" not in result
            assert scan["Scan Direction"] == "Backward"
            assert scan["Index Name"] == index
            assert "Filter" not in scan
            assert scan["Actual Rows"] == 11


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)
