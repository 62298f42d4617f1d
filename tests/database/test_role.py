"""The role `todo_app`: its privileges and what the policies let it do.

`/ready` looks at both.
"""

from typing import Any

import psycopg2
import pytest
from sqlalchemy import inspect

from tests.support.apps import app_on
from tests.support.sql import changed_database, run_sql
from todo_api.models.tables import Todo

COLUMNS = sorted(column.name for column in inspect(Todo).columns)
OFF = "row-level security is off, or has other policies"
LACKS = "todos lacks columns, or rights on them: "


def test_the_role_has_only_the_privileges_that_the_statements_need(migrated: str) -> None:
    assert run_sql(
        migrated,
        "SELECT rolcanlogin, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication "
        "FROM pg_roles WHERE rolname = 'todo_app'",
    ) == [(False,) * 6]
    tables = run_sql(
        migrated,
        "CREATE TABLE IF NOT EXISTS another (id int)",
        "SELECT c.relname, p FROM pg_class c, unnest(array["
        "'SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p "
        "WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f') AND c.relnamespace "
        "NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) "
        "AND has_table_privilege('todo_app', c.oid, p) ORDER BY 1, 2",
    )
    on_todos = [("todos", privilege) for privilege in ("DELETE", "INSERT", "SELECT", "UPDATE")]
    assert tables == [("alembic_version", "SELECT"), *on_todos]
    columns = run_sql(
        migrated,
        "SELECT c.relname, p, string_agg(a.attname, ' ' ORDER BY a.attnum) FROM pg_class c "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0, "
        "unnest(array['INSERT', 'UPDATE', 'REFERENCES']) p WHERE "
        "c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> 'todos' "
        "AND has_column_privilege('todo_app', c.oid, a.attnum, p) GROUP BY 1, 2 ORDER BY 1, 2",
    )
    assert columns == [("users", "INSERT", "id")]
    schemas = (
        "SELECT nspname FROM pg_namespace WHERE has_schema_privilege('todo_app', oid, 'CREATE')"
    )
    assert run_sql(migrated, schemas) == []
    forbidden = ["TRUNCATE todos", "SELECT FROM users", "CREATE TABLE x (y int)"]
    for statement in forbidden:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run_sql(migrated, "SET ROLE todo_app", statement)


@pytest.mark.parametrize(
    ("statement", "outcome"),
    [
        (
            "UPDATE todos SET user_id = 'thief' WHERE user_id = 'owner'",
            "violates row-level security",
        ),
        (
            "INSERT INTO todos (user_id, title) VALUES ('other', 'forged')",
            "violates row-level security",
        ),
        ("SELECT * FROM todos WHERE user_id = 'other'", []),
        ("UPDATE todos SET title = 'theirs' WHERE user_id = 'other' RETURNING *", []),
        ("DELETE FROM todos WHERE user_id = 'other' RETURNING *", []),
    ],
)
def test_the_policies_keep_every_row_with_its_owner(
    migrated: str, statement: str, outcome: str | list[Any]
) -> None:
    """As the role, in SQL that no filter protects."""
    run_sql(
        migrated,
        "INSERT INTO users (id) VALUES ('owner'), ('other'), ('thief') ON CONFLICT DO NOTHING",
        "INSERT INTO todos (user_id, title) VALUES ('owner', 'own'), ('other', 'theirs')",
    )
    as_owner = ("SET ROLE todo_app", "SET app.user_id = 'owner'")
    if isinstance(outcome, str):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match=outcome):
            run_sql(migrated, *as_owner, statement)
    else:
        assert run_sql(migrated, *as_owner, statement) == outcome


@pytest.mark.parametrize(
    ("statement", "undo", "reason"),
    [
        (
            "ALTER TABLE todos DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE todos ENABLE ROW LEVEL SECURITY",
            OFF,
        ),
        (
            "ALTER TABLE users DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE users ENABLE ROW LEVEL SECURITY",
            OFF,
        ),
        ("ALTER ROLE todo_app BYPASSRLS", "ALTER ROLE todo_app NOBYPASSRLS", OFF),
        ("CREATE POLICY everything ON todos USING (true)", "DROP POLICY everything ON todos", OFF),
        (
            "ALTER POLICY own_rows ON todos WITH CHECK (true)",
            "ALTER POLICY own_rows ON todos "
            "WITH CHECK (user_id = current_setting('app.user_id', true))",
            OFF,
        ),
        (
            "ALTER TABLE todos RENAME title TO name",
            "ALTER TABLE todos RENAME name TO title",
            f"{LACKS}title",
        ),
        (
            "REVOKE INSERT ON todos FROM todo_app",
            "GRANT INSERT ON todos TO todo_app",
            f"{LACKS}{', '.join(COLUMNS)}",
        ),
    ],
)
def test_ready_is_503_when_users_are_not_isolated_or_the_schema_lacks_columns_or_rights(
    migrated: str, statement: str, undo: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with app_on(migrated) as call:
        assert call("GET", "/ready").status == 200
        with changed_database(migrated, statement, undo):
            response = call("GET", "/ready")
        assert (response.status, response.json()["type"]) == (503, "urn:todo-api:problem:not-ready")
        assert call("GET", "/ready").status == 200
    lines = [line for line in caplog.records if line.getMessage() == "not ready"]
    assert [line.__dict__["reason"] for line in lines] == [reason]
