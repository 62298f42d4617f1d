"""Row-level security and the filters of the statements: each isolates users without the other."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event
from sqlmodel import SQLModel

from dev import ROOT
from dev.lab.sql import rows_of, run_sql
from migrations.__main__ import migrate
from tests.support.documents.leaks import leaks
from tests.support.documents.operations import operations_of
from tests.support.documents.walk import new_caller
from tests.support.http.apps import app_on
from tests.support.postgres.clusters import EACH_VERSION, empty_cluster, of_database
from todo_api.database import todos as repository
from todo_api.database.engine import Database
from todo_api.database.errors import DatabaseUnavailable
from todo_api.database.isolation import SESSION_SETUP_SQL
from todo_api.models.todos import TodoCreate, TodoQuery

# --- one protection without the other -------------------------------------------------------------


@pytest.fixture(scope="module")
def without_policies(new_migrated: Callable[[], str]) -> str:
    """The URI of a migrated database without row-level security."""
    uri = new_migrated()
    for table in SQLModel.metadata.tables:
        run_sql(uri, f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    return uri


@contextmanager
def without_filters() -> Iterator[None]:
    """Send each statement of this process without its conditions on the caller's id."""

    def remove(
        connection: Connection, _cursor: object, statement: str, parameters: Any, *_: object
    ) -> tuple[str, Any]:
        user_id = connection.get_execution_options()["user_id"]
        for name, value in parameters.items():
            if value == user_id:
                statement = re.sub(rf"[\w.]+ = %\({name}\)s", "TRUE", statement)
        return statement, parameters

    event.listen(Engine, "before_cursor_execute", remove, retval=True)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", remove)


def _leaks(uri: str, *, briefly: bool = False) -> list[str]:
    """Return the requests with which a user reads, changes or detects what is another's."""
    api = app_on(uri)
    victim = new_caller("victim", api)
    intruder = new_caller("intruder", api)
    return leaks(victim, intruder, lambda: rows_of(uri, victim.user_id), briefly=briefly)


@pytest.mark.slow
def test_row_level_security_isolates_users_without_the_filters(migrated: str) -> None:
    with without_filters():
        assert _leaks(migrated) == []


@pytest.mark.slow
def test_the_filters_isolate_users_without_row_level_security(without_policies: str) -> None:
    assert _leaks(without_policies) == []


@pytest.mark.slow
def test_without_both_every_operation_on_an_item_reaches_another_users(
    without_policies: str,
) -> None:
    with without_filters():
        found = _leaks(without_policies)
    reached = {name for request in found for name in re.findall(r"^\w+", request)}
    api = app_on(without_policies)
    # A create in another user's item is still refused, by a key that includes the owner.
    on_an_item = {
        operation.name
        for operation in operations_of(api)
        if operation.ids and not operation.creates
    }
    assert on_an_item
    assert on_an_item <= reached


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
    settings = {"session.user_id": "x", "session.timeout": "900"}
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


def test_a_value_named_like_a_setting_of_the_session_stays_what_it_is(migrated: str) -> None:
    """The name of an inserted value is that of its column."""
    names = re.findall(r"%\((.+?)\)s", SESSION_SETUP_SQL)
    values: list[sa.ColumnElement[str]] = [
        sa.bindparam(name, f"the value of {name}") for name in names
    ]
    with Database(lambda: migrated).session(user_id="x", timeout_seconds=8) as session:
        row = session.execute(sa.select(*values)).one()
    assert names
    assert list(row) == [f"the value of {name}" for name in names]


# --- login roles with BYPASSRLS, as on Neon -------------------------------------------------------


@pytest.fixture(scope="module", params=EACH_VERSION)
def bypassing_owner(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URI of a login role with BYPASSRLS and without superuser rights.

    On the newest PostgreSQL and on Debian's.
    """
    with empty_cluster(request.param) as (owner, _):
        yield owner


@pytest.mark.slow
def test_concurrent_migrations_ready_and_isolation_work_for_a_login_role_with_bypassrls(
    bypassing_owner: str,
) -> None:
    run_sql(bypassing_owner, "CREATE DATABASE first", "CREATE DATABASE second")
    uris = [of_database(bypassing_owner, name) for name in ("first", "second")]
    command = [sys.executable, "-m", "migrations"]
    # Two of one database, and one of another with the same role.
    environments = [os.environ | {"NEON_DATABASE_URL": uri} for uri in [uris[0], *uris]]
    concurrent = [
        subprocess.Popen(command, cwd=ROOT, env=environment) for environment in environments
    ]
    assert [migration.wait() for migration in concurrent] == [0] * 3
    for uri in uris:
        call = app_on(uri)
        assert call("GET", "/ready").status == 200
        assert call("POST", "/v1/todos", user="alice", json={"title": "x"}).status == 201
        assert call("GET", "/v1/todos", user="alice").json()["items"][0]["title"] == "x"
        assert run_sql(uri, "SELECT current_user, count(*) FROM todos") == [("neondb_owner", 1)]
        with without_filters():
            assert _leaks(uri, briefly=True) == []
        migrate(uri, "base")
        migrate(uri)
