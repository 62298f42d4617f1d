"""Row-level security and the filters of the statements: each isolates users without the other."""

import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import ModuleType
from typing import Any
from uuid import UUID

import psycopg2
import pytest
import sqlglot
from sqlglot import exp

from migrations.__main__ import migrate
from tests.support.apps import app_on
from tests.support.clusters import empty_cluster
from tests.support.machine import ROOT
from tests.support.mutations import FILTER_LINES, filters, without_filters
from tests.support.proxy import TrafficCounter
from tests.support.sql import run_sql
from tests.support.users import User
from todo_api.database import todos as repository
from todo_api.database.engine import Database
from todo_api.database.errors import DatabaseUnavailable
from todo_api.database.isolation import SESSION_SETUP_SQL
from todo_api.models.todos import TodoCreate, TodoQuery, TodoUpdate

VERSIONS = [datetime(2026, 11, 20, 9, 30, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC)]
OPERATIONS: dict[str, Callable[[Any, UUID], Any]] = {
    "create": lambda todos, _: todos.create(TodoCreate(title="x")),
    "create with a key": lambda todos, _: todos.create(TodoCreate(title="x"), "a key"),
    "create with the same key": lambda todos, _: todos.create(TodoCreate(title="x"), "a key"),
    "list": lambda todos, _: todos.list(TodoQuery()),
    "list by completion": lambda todos, _: todos.list(
        TodoQuery.model_validate({"is_completed": "false"})
    ),
    "list from a cursor": lambda todos, _: todos.list(
        TodoQuery.model_validate({"cursor": todos.list(TodoQuery(limit=1)).next_cursor})
    ),
    "retrieve": lambda todos, id_: todos.retrieve(id_),
    "replace": lambda todos, id_: todos.replace(id_, TodoCreate(title="taken over")),
    "update": lambda todos, id_: todos.update(id_, TodoUpdate(title="taken over again")),
    "update without fields": lambda todos, id_: todos.update(id_, TodoUpdate()),
    "update of a version": lambda todos, id_: todos.update(id_, TodoUpdate(title="z"), VERSIONS),
    "toggle": lambda todos, id_: todos.toggle(id_),
    "toggle of a version": lambda todos, id_: todos.toggle(id_, VERSIONS),
    "delete of a version": lambda todos, id_: todos.delete(id_, VERSIONS),
    "delete": lambda todos, id_: todos.delete(id_),
}


def _results(
    module: ModuleType, uri: str, user_id: str, todo_id: UUID
) -> Iterator[tuple[str, Any]]:
    """Run each operation of the repository in `module`.

    Yields its name and what it returns or raises.
    """
    database = Database(lambda: uri)
    for name, operation in OPERATIONS.items():
        with database.session(user_id=user_id, timeout_seconds=8) as session:
            try:
                result = operation(module.TodoRepository(session, user_id), todo_id)
            except (module.TodoNotFound, module.rows.PreconditionFailed) as error:
                result = error
        yield name, result


# --- the filter in each statement -----------------------------------------------------------------


@pytest.fixture
def statements(
    environment: dict[str, str], wire: TrafficCounter, carol: User
) -> Callable[[ModuleType], list[str]]:
    """A function that returns the statements that a repository sends for Carol.

    One statement for each operation of the repository in a module.
    """

    def sent(module: ModuleType) -> list[str]:
        with wire.watch() as traffic:
            list(
                _results(
                    module, environment["NEON_DATABASE_URL"], carol.id, UUID(carol.todos[0]["id"])
                )
            )
        return traffic.statements

    return sent


def _unfiltered(statement: str, user_id: str) -> list[str]:
    """Return the parts of a statement that access todos without their own `user_id = caller`."""
    _session_setup, parsed = sqlglot.parse(statement, dialect="postgres")
    assert parsed
    found = []
    for part in parsed.find_all(exp.Select, exp.Update, exp.Delete, exp.Insert):
        alone = part.copy()
        alone.set("with_", None)
        if "todos" not in [table.name for table in alone.find_all(exp.Table)]:
            continue
        if isinstance(alone, exp.Insert):
            columns = [column.name for column in alone.this.expressions]
            owner = alone.expression.expressions[0].expressions[columns.index("user_id")]
            conditions: list[exp.Expr] = [exp.column("user_id", "todos").eq(owner)]
        else:
            where = alone.args["where"].this if alone.args.get("where") else exp.true()
            conditions = list(where.flatten()) if isinstance(where, exp.And) else [where]
        if f"todos.user_id = '{user_id}'" not in [condition.sql() for condition in conditions]:
            found.append(part.sql())
    return found


def test_every_access_to_todos_filters_by_the_user(
    statements: Callable[[ModuleType], list[str]], carol: User
) -> None:
    methods = {
        name for name, _ in inspect.getmembers(repository.TodoRepository, inspect.isfunction)
    }
    assert {name.partition(" ")[0] for name in OPERATIONS} == {
        name for name in methods if not name.startswith("_")
    }
    sent = statements(repository)
    assert len(sent) == len(OPERATIONS) + 1  # a page was read for its cursor
    assert all("todos" in statement for statement in sent)
    assert [_unfiltered(statement, carol.id) for statement in sent] == [[]] * len(sent)


@pytest.mark.parametrize("line", FILTER_LINES)
def test_removing_any_one_filter_is_detected(
    line: int, statements: Callable[[ModuleType], list[str]], carol: User
) -> None:
    assert any(
        _unfiltered(statement, carol.id) for statement in statements(without_filters({line}))
    )


# --- one protection without the other -------------------------------------------------------------


@pytest.fixture(scope="module")
def without_policies(new_database: Callable[[], str]) -> str:
    """The URI of a migrated database without row-level security."""
    uri = new_database()
    migrate(uri)
    for table in ("todos", "users"):
        run_sql(
            uri,
            f"DROP POLICY own_rows ON {table}",
            f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
        )
    return uri


def _leaks(module: ModuleType, uri: str) -> list[str]:
    """Return the operations with which an intruder reads, changes or detects a victim's todo."""
    database = Database(lambda: uri)
    with database.session(user_id="victim", timeout_seconds=8) as session:
        todo, _ = repository.TodoRepository(session, "victim").create(TodoCreate(title="private"))
    leaks, state = [], [("private", False)]
    for name, result in _results(module, uri, "intruder", todo.id):
        before = state
        # The id is a UUID.
        state = run_sql(uri, f"SELECT title, is_completed FROM todos WHERE id = '{todo.id}'")  # noqa: S608
        reveals_existence = isinstance(result, module.rows.PreconditionFailed)
        if reveals_existence or "victim" in repr(result) or state != before:
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
    assert set().union(*leaks) == {name for name in OPERATIONS if not name.startswith("create")}


# --- the session's settings -----------------------------------------------------------------------


def test_a_statement_without_the_right_session_user_reads_and_writes_nothing(migrated: str) -> None:
    database = Database(lambda: migrated)
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
        "SELECT current_user, coalesce(current_setting('app.user_id', true), ''), "
        "current_setting('statement_timeout')"
    )
    with connection.cursor() as cursor:
        for statement in ("SELECT 1", "SELECT 1 / 0"):
            try:
                cursor.execute(SESSION_SETUP_SQL + statement, settings)
            except psycopg2.DataError:
                assert statement == "SELECT 1 / 0"
            cursor.execute(show)
            assert cursor.fetchone() == ("postgres", "", "0")
    connection.close()


# --- login roles with BYPASSRLS, as on Neon -------------------------------------------------------


@pytest.fixture(
    scope="module", params=["wheel", pytest.param("system", marks=pytest.mark.system_postgres)]
)
def cluster(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URI of a login role with BYPASSRLS and without superuser rights.

    On the newest PostgreSQL and on Debian's.
    """
    with empty_cluster(request.param) as (owner, _):
        yield owner


def test_concurrent_migrations_ready_and_isolation_work_for_a_login_role_with_bypassrls(
    cluster: str,
) -> None:
    run_sql(cluster, "CREATE DATABASE first", "CREATE DATABASE second")
    uris = [f"{cluster.removesuffix('postgres')}{name}" for name in ("first", "second")]
    command = [sys.executable, "-m", "migrations"]
    environments = [os.environ | {"NEON_DATABASE_URL": uri} for uri in uris * 2]
    concurrent = [
        subprocess.Popen(command, cwd=ROOT, env=environment) for environment in environments
    ]
    assert [migration.wait() for migration in concurrent] == [0] * 4
    for uri in uris:
        with app_on(uri) as call:
            assert call("GET", "/ready").status == 200
            assert call("POST", "/v1/todos", user="alice", json={"title": "x"}).status == 201
            assert call("GET", "/v1/todos", user="alice").json()["items"][0]["title"] == "x"
        assert run_sql(uri, "SELECT current_user, count(*) FROM todos") == [("neondb_owner", 1)]
        assert _leaks(without_filters(set(FILTER_LINES)), uri) == []
        migrate(uri, "base")
        migrate(uri)
