"""The constraints of the tables, which hold without the checks of the API too."""

from typing import Any

import psycopg2
import pytest

from tests.support.users import User


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
