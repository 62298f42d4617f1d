"""What the function's own login may do."""

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from dev.lab.sql import run_sql
from tests.support.http.apps import app_on


def test_the_login_has_no_attribute_and_no_role_except_todo_app(login: str) -> None:
    user = parse_dsn(login)["user"]
    assert user.startswith("todo_app_branch_x_")
    attributes = (
        "SELECT rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, "
        "rolcanlogin FROM pg_roles WHERE rolname = current_user"
    )
    assert run_sql(login, attributes) == [(False,) * 6 + (True,)]
    member = (
        "SELECT roleid::regrole::text, admin_option FROM pg_auth_members "
        "WHERE member = current_user::regrole"
    )
    assert run_sql(login, member) == [("todo_app", False)]
    # MEMBER: may switch to it. USAGE: inherits from it.
    may = "SELECT pg_has_role('todo_app', 'MEMBER'), pg_has_role('todo_app', 'USAGE')"
    assert run_sql(login, may) == [(True, False)]
    # What the login owns, or has rights of its own on.
    owned = "SELECT classid::regclass::text FROM pg_shdepend WHERE deptype IN ('a', 'o')"
    on_objects = (
        f"{owned} AND refobjid = current_user::regrole AND classid <> 'pg_auth_members'::regclass"
    )
    assert run_sql(login, on_objects) == []


FORBIDDEN_STATEMENTS = [
    "DROP TABLE todos",
    "DROP TABLE alembic_version",
    "DROP OWNED BY neondb_owner",
    "TRUNCATE todos",
    "TRUNCATE users CASCADE",
    "ALTER TABLE todos ADD COLUMN more text",
    "ALTER TABLE todos DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE todos OWNER TO CURRENT_USER",
    "ALTER POLICY own_rows ON todos USING (true)",
    "DROP POLICY own_rows ON todos",
    "CREATE POLICY everything ON todos USING (true)",
    "CREATE INDEX more ON todos (title)",
    "CREATE TRIGGER more BEFORE INSERT ON todos "
    "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE TABLE public.more (x int)",
    "CREATE VIEW public.more AS SELECT 1",
    "CREATE SCHEMA more",
    "CREATE DATABASE more",
    "CREATE ROLE more",
    "DROP DATABASE todo",
    "DROP SCHEMA public CASCADE",
    "ALTER ROLE CURRENT_USER BYPASSRLS",
    "ALTER ROLE todo_app BYPASSRLS",
    "ALTER ROLE neondb_owner PASSWORD 'taken over'",
    "GRANT neondb_owner TO CURRENT_USER",
    "GRANT todo_app TO pg_monitor",
    "SET ROLE neondb_owner",
    "SET SESSION AUTHORIZATION neondb_owner",
    "SET session_replication_role = replica",
    "SELECT FROM users",
    "SELECT FROM alembic_version",
    "INSERT INTO users (id, created_at) VALUES ('other', now())",
    "UPDATE users SET id = 'other'",
    "UPDATE alembic_version SET version_num = '0001'",
    "COPY todos TO PROGRAM 'true'",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT rolpassword FROM pg_authid",
]


@pytest.mark.parametrize("role", ["NONE", "todo_app"])
def test_no_sql_of_the_login_drops_alters_or_truncates_a_table_or_widens_its_rights(
    owner: str, login: str, role: str
) -> None:
    for statement in FORBIDDEN_STATEMENTS:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run_sql(login, f"SET ROLE {role}", statement)
    assert run_sql(owner, "SELECT to_regclass('todos')::text, to_regclass('users')::text") == [
        ("todos", "users")
    ]


def test_the_login_reads_and_writes_no_row_without_setting_a_user(owner: str, login: str) -> None:
    run_sql(
        owner,
        "INSERT INTO users (id) VALUES ('victim')",
        "INSERT INTO todos (user_id, title) VALUES ('victim', 'x')",
    )
    statements = [
        "SELECT title FROM todos",
        "UPDATE todos SET title = 'y' RETURNING 1",
        "DELETE FROM todos RETURNING 1",
    ]
    for statement in statements:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run_sql(login, statement)
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run_sql(login, "SET app.user_id = 'victim'", "SET row_security = off", statement)
        assert run_sql(login, "SET ROLE todo_app", statement) == []
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run_sql(login, "SET ROLE todo_app", "SET row_security = off", statement)
    assert run_sql(login, "SET ROLE todo_app", "SET app.user_id = 'victim'", statements[0]) == [
        ("x",)
    ]


def test_the_api_works_with_the_login(login: str) -> None:
    call = app_on(login)
    assert call("GET", "/ready").status == 200
    todo = call("POST", "/v1/todos", user="alice", json={"title": "x"})
    assert todo.status == 201
    assert call("GET", "/v1/todos", user="bob").json()["items"] == []
    assert call("DELETE", todo.headers["location"], user="alice").status == 204
