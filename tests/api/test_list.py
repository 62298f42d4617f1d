"""Pagination: complete and stable during writes, and one index scan per page."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.clients import Api
from tests.support.users import User
from todo_api.database.engine import Database
from todo_api.database.repository import SESSION_SETUP_SQL, TodoRepository
from todo_api.models.page import Cursor, TodoQuery

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


def test_pages_of_every_size_together_are_the_whole_list(alice: User, bob: User) -> None:
    for number in range(5):
        alice.create(f"todo {number}")
        bob.create(f"todo {number}")
    everything = alice.list()
    assert len(everything) == 7
    for limit in range(1, 9):
        pages = list(_pages(alice, f"limit={limit}"))
        assert [todo for page in pages for todo in page] == everything
        assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
        assert pages[-1], "a full last page must not be followed by an empty one"


def test_page_size_is_50_by_default_and_100_on_request(carol: User) -> None:
    for number in range(100):
        carol.create(f"todo {number}")
    assert len(carol("GET", "/v1/todos").json()["items"]) == 50
    assert len(carol("GET", "/v1/todos?limit=100").json()["items"]) == 100


def test_paging_during_writes_repeats_and_misses_nothing(alice: User) -> None:
    to_delete = [alice.create(f"to delete {number}") for number in range(6)]
    staying = [alice.create(f"staying {number}") for number in range(24)]
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
    toggled = [alice.create(f"toggled {number}", is_completed=bool(number % 2)) for number in range(9)]
    seen: list[str] = []
    for page in _pages(alice, "limit=3&is_completed=false"):
        seen += [todo["id"] for todo in page]
        for todo in toggled[:3]:
            alice("POST", f"/v1/todos/{todo['id']}/toggle")
        toggled = toggled[1:]
    assert len(seen) == len(set(seen))
    assert {todo["id"] for todo in matching} <= set(seen)


def test_todos_with_equal_creation_times_are_ordered_by_id(alice: User, sql: Any) -> None:
    for number in range(5):
        alice.create(f"todo {number}")
    sql("UPDATE todos SET created_at = '2026-01-01' WHERE user_id = %s", alice.id)
    everything = alice.list()
    assert [todo["id"] for todo in everything] == sorted((todo["id"] for todo in everything), reverse=True)
    for limit in (1, 2, 3):
        assert [todo for page in _pages(alice, f"limit={limit}") for todo in page] == everything


@pytest.mark.parametrize("is_completed", [None, False, True])
def test_page_is_one_index_scan_without_a_sort(
    sql: Any, database: str, lambda_api: Api, *, is_completed: bool | None
) -> None:
    assert lambda_api
    if not sql("SELECT 1 FROM users WHERE id = 'plan'"):
        sql("INSERT INTO users SELECT 'plan' || n FROM generate_series(1, 20) n UNION SELECT 'plan'")
        sql(
            "INSERT INTO todos (user_id, title, is_completed, created_at) "
            "SELECT CASE WHEN n % 2 = 0 THEN 'plan' ELSE 'plan' || n % 20 + 1 END, 'x', n % 7 = 0, "
            "now() - n * interval '1 second' FROM generate_series(1, 40000) n"
        )
        sql("ANALYZE todos")
    (row,) = sql(
        "SELECT id, created_at FROM todos WHERE user_id = 'plan' ORDER BY created_at DESC, id DESC OFFSET 9989 LIMIT 1"
    )
    for cursor in (None, Cursor(row[1], row[0], is_completed)):
        plan = _plan(database, TodoQuery.model_construct(limit=10, is_completed=is_completed, cursor=cursor))
        nodes = list(_nodes(plan))
        assert [node["Node Type"] for node in nodes] == ["Limit", "Result", "Index Scan"], plan
        _, result, scan = nodes
        # PostgreSQL evaluates the row-level security policy once, in the Result node, before it reads a row.
        assert "One-Time Filter" in result
        assert "Filter" not in result
        assert scan["Scan Direction"] == "Backward"
        assert scan["Index Name"] == ("todos_by_user" if is_completed is None else "todos_by_user_and_completion")
        assert "Filter" not in scan
        assert scan["Actual Rows"] == 11


def _plan(database: str, query: TodoQuery) -> dict[str, Any]:
    """Return the execution plan of the statement that the repository sends for `query`."""
    plans: list[Any] = []

    class Explained:
        """A stub session that runs EXPLAIN on the statement and returns no rows."""

        def connection(self) -> Any:
            return self

        def execute(self, statement: Any) -> Any:
            text = str(statement.compile(session.get_bind(), compile_kwargs={"literal_binds": True}))
            plans.append(session.connection().exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}").scalar())
            return session.connection().execute(statement.limit(0))

    with Database(lambda: database, SESSION_SETUP_SQL).session(user_id="plan", timeout_seconds=8) as session:
        TodoRepository(Explained(), "plan").list(query)  # type: ignore[arg-type]  # a stub session
    (plan,) = plans
    found: dict[str, Any] = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
    return found


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)
