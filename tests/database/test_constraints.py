"""The constraints of the tables, which hold without the checks of the API too."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa

from dev.lab.sql import run_sql
from tests.support.http.apps import app_on
from tests.support.http.assertions import assert_problem
from tests.support.http.users import User
from todo_api.models.tables import Todo


@pytest.mark.parametrize(
    "row",
    [
        "todos (user_id, title) VALUES ('limits', '')",
        "todos (user_id, title) VALUES ('limits', repeat('x', 256))",
        "todos (user_id, title) VALUES ('limits', NULL)",
        "todos (user_id, title, description) VALUES ('limits', 'x', repeat('x', 2001))",
        "todos (user_id, title, is_completed) VALUES ('limits', 'x', NULL)",
        "todos (user_id, title, created_at) VALUES ('limits', 'x', NULL)",
        "todos (user_id, title) VALUES ('nobody', 'x')",
        "todos (user_id, title) VALUES (NULL, 'x')",
        "users (id) VALUES ('')",
        "users (id) VALUES (repeat('x', 256))",
    ],
)
def test_database_constraints_enforce_the_limits(sql: Any, row: str) -> None:
    sql("INSERT INTO users (id) VALUES ('limits') ON CONFLICT DO NOTHING")
    with pytest.raises(psycopg2.IntegrityError):
        sql(f"INSERT INTO {row}")
    sql("DELETE FROM users WHERE id = 'limits'")


@pytest.mark.pooled
def test_deleting_a_user_deletes_only_their_todos(carol: User, sql: Any) -> None:
    deleted = f"deleted-{carol.id}"
    carol.api("POST", "/v1/todos", user=deleted, json={"title": "x"})
    sql("DELETE FROM users WHERE id = %s", deleted)
    assert sql("SELECT count(*) FROM todos WHERE user_id = %s", deleted) == [(0,)]
    assert carol.list() == [carol.todos[1], carol.todos[0]]


@pytest.fixture
def unique_title(new_migrated: Callable[[], str]) -> Iterator[str]:
    """The URI of a database in which each user has a title once, as the models say meanwhile."""
    table = Todo.metadata.tables["todos"]
    index = sa.Index("todos_by_title", table.c.user_id, table.c.title, unique=True)
    try:
        uri = new_migrated()
        run_sql(uri, "CREATE UNIQUE INDEX todos_by_title ON todos (user_id, title)")
        yield uri
    finally:
        table.indexes.discard(index)


def test_a_unique_value_that_the_user_has_already_is_422_and_names_the_field(
    unique_title: str,
) -> None:
    taken = [{"in": "body", "field": "title", "detail": "Another one has this value"}]
    call = app_on(unique_title)
    for user in ("ada", "ben"):
        assert call("POST", "/v1/todos", user=user, json={"title": "once"}).status == 201
    other = call("POST", "/v1/todos", user="ada", json={"title": "other"}).json()
    create = call("POST", "/v1/todos", user="ada", json={"title": "once"})
    path = f"/v1/todos/{other['id']}"
    update = call("PATCH", path, user="ada", json={"title": "once"})
    assert call("GET", path, user="ada").json() == other
    assert assert_problem(create, 422)["errors"] == taken
    assert assert_problem(update, 422)["errors"] == taken


# A trigger with a name before the one that checks the foreign key.
WAIT_BEFORE_THE_KEY_IS_CHECKED = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$;
CREATE TRIGGER "A" AFTER INSERT ON todos FOR EACH ROW EXECUTE FUNCTION wait()
"""


def test_a_user_who_is_deleted_while_they_write_gets_a_503_that_is_safe_to_retry(
    new_migrated: Callable[[], str],
) -> None:
    uri = new_migrated()
    run_sql(uri, "INSERT INTO users (id) VALUES ('leaving')", WAIT_BEFORE_THE_KEY_IS_CHECKED)

    def delete_the_user_when_the_request_waits(other: psycopg2.extensions.connection) -> None:
        while not run_sql(
            uri, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        ):
            time.sleep(0.01)
        run_sql(uri, "DELETE FROM users WHERE id = 'leaving'")
        other.commit()

    with ThreadPoolExecutor(1) as executor, closing(psycopg2.connect(uri)) as other:
        other.cursor().execute("SELECT pg_advisory_xact_lock(1)")
        deleted = executor.submit(delete_the_user_when_the_request_waits, other)
        call = app_on(uri)
        response = call("POST", "/v1/todos", user="leaving", json={"title": "x"})
        deleted.result()

    assert (response.status, response.headers["retry-after"]) == (503, "1")
    assert response.json()["type"] == "urn:todo-api:problem:database-unavailable:not-executed"
    assert run_sql(uri, "SELECT count(*) FROM todos") == [(0,)]
