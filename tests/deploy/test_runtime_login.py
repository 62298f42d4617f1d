"""The function's own login: what it may do, and when it is created."""

import secrets
import traceback
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from deploy.runtime_login import LoginError, close, create
from tests.support.apps import app_on
from tests.support.clusters import OWNER, created
from tests.support.sql import run_sql


def roles(uri: str) -> list[tuple[Any, ...]]:
    """Return every role's name, and whether it may log in."""
    return run_sql(uri, "SELECT rolname, rolcanlogin FROM pg_roles ORDER BY 1")


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


FORBIDDEN = [
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
    for statement in FORBIDDEN:
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
    with app_on(login) as call:
        assert call("GET", "/ready").status == 200
        todo = call("POST", "/v1/todos", user="alice", json={"title": "x"})
        assert todo.status == 201
        assert call("GET", "/v1/todos", user="bob").json()["items"] == []
        assert call("DELETE", todo.headers["location"], user="alice").status == 204


# --- when there is a new login --------------------------------------------------------------------


def test_the_url_is_the_owners_with_another_user_and_a_password_of_256_bits(owner: str) -> None:
    options = "?sslmode=prefer&application_name=a%20b"
    first, second = (parse_dsn(created(owner + options)) for _ in range(2))
    address = {
        name: value
        for name, value in parse_dsn(owner + options).items()
        if name not in ("user", "password")
    }
    assert {name: first[name] for name in address} == address
    assert set(first) == {*address, "user", "password"}
    assert len(first["password"]) == len(second["password"]) == 43  # 6 bits in each character
    assert first["password"] != second["password"]


def test_a_login_that_works_stays_unless_it_is_to_be_rotated(owner: str, login: str) -> None:
    before = roles(owner)
    assert create(owner, login, "branch-x") is None
    assert create(owner, login.replace("postgresql://", "postgres://"), "branch-x") is None
    assert roles(owner) == before
    assert parse_dsn(created(owner, login, rotate=True))["user"] != parse_dsn(login)["user"]


@pytest.mark.parametrize(
    "change",
    [
        lambda login, _: login.replace(parse_dsn(login)["password"], "refused"),
        lambda login, _: login + "?sslmode=prefer",
        lambda login, _: login.replace("/todo", "/postgres"),
        lambda _, owner: owner,
        lambda _login, _owner: "not a URL",
    ],
    ids=["refused", "other options", "other database", "owner", "no URL"],
)
def test_a_login_that_is_not_of_this_database_or_does_not_work_is_replaced(
    owner: str, login: str, change: Callable[[str, str], str]
) -> None:
    created(owner, change(login, owner))


def test_a_login_that_does_not_pass_the_check_of_ready_is_dropped(owner: str) -> None:
    before = roles(owner)
    run_sql(owner, "ALTER TABLE todos DISABLE ROW LEVEL SECURITY")
    try:
        reason = "does not work, and was dropped: row-level security is off"
        with pytest.raises(LoginError, match=reason):
            create(owner, "", "dev")
    finally:
        run_sql(owner, "ALTER TABLE todos ENABLE ROW LEVEL SECURITY")
    assert roles(owner) == before


def test_a_login_that_may_create_in_a_schema_is_replaced(owner: str) -> None:
    login = created(owner)
    name = parse_dsn(login)["user"]
    run_sql(owner, "CREATE SCHEMA app", f"GRANT CREATE ON SCHEMA app TO {name}")
    try:
        assert parse_dsn(created(owner, login))["user"] != name
    finally:
        run_sql(owner, "DROP SCHEMA app")


def test_no_login_is_made_where_everybody_may_create_in_a_schema(owner: str) -> None:
    before = roles(owner)
    run_sql(owner, "CREATE SCHEMA app", "GRANT CREATE ON SCHEMA app TO PUBLIC")
    try:
        with pytest.raises(LoginError, match="todo_app may create in the schema app"):
            create(owner, "", "dev")
    finally:
        run_sql(owner, "DROP SCHEMA app")
    assert roles(owner) == before


def test_an_owner_without_createrole_gets_the_sql_to_run_by_hand(cluster: tuple[str, str]) -> None:
    owner, superuser = cluster
    run_sql(superuser, f"ALTER ROLE {OWNER} NOCREATEROLE")
    try:
        with pytest.raises(LoginError, match="permission denied") as refused:
            create(owner, "", "dev")
        statement = str(refused.value).split("run: ")[1].split(";")[0]
        run_sql(superuser, statement.replace("…", "by-hand"))
        by_hand = owner.replace(f"{OWNER}:of-the-test", "todo_app_dev_by_hand:by-hand")
        assert create(owner, by_hand, "dev") is None
    finally:
        run_sql(superuser, f"ALTER ROLE {OWNER} CREATEROLE")
    close(owner, by_hand, "dev")
    assert create(owner, by_hand, "dev") is None


@pytest.mark.parametrize(
    ("fault", "undo"),
    [
        (f"ALTER ROLE {OWNER} NOCREATEROLE", f"ALTER ROLE {OWNER} CREATEROLE"),
        ("ALTER ROLE todo_app RENAME TO other_app", "ALTER ROLE other_app RENAME TO todo_app"),
        ("REVOKE SELECT ON todos FROM todo_app", "GRANT SELECT ON todos TO todo_app"),
    ],
)
def test_no_error_shows_the_new_password(
    cluster: tuple[str, str], fault: str, undo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, superuser = cluster
    monkeypatch.setattr(secrets, "token_urlsafe", lambda _: "t0p-s3cr3t")
    run_sql(superuser, fault)
    try:
        with pytest.raises((LoginError, psycopg2.Error)) as raised:
            create(owner, "", "dev")
    finally:
        run_sql(superuser, undo)
    assert "t0p-s3cr3t" not in "".join(traceback.format_exception(raised.value))


def test_a_user_outside_of_the_usual_place_in_the_url_is_refused(owner: str) -> None:
    url = f"{owner}?user={OWNER}"
    with pytest.raises(LoginError, match="must stand before its host"):
        create(url, "", "dev")
