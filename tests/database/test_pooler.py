"""PgBouncer: refused connections and statements, and users who share server connections."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg2
import pytest
from sqlalchemy.exc import IntegrityError

from dev.lab.pgbouncer import pgbouncer
from dev.lab.sql import changed_database
from tests.support.http.apps import app_on
from tests.support.postgres.fault_scenario import (
    NOT_EXECUTED,
    SUCCEEDED,
    TIMEOUT_SECONDS,
    FaultScenario,
    each_kind_of_statement,
)
from todo_api.database import todos as repository
from todo_api.database.engine import Database
from todo_api.models.todos import TodoCreate, TodoPublic, TodoQuery

pytestmark = pytest.mark.pgbouncer


@each_kind_of_statement
def test_another_authority_host_name_or_password_is_misconfigured_and_not_retried(
    scenario: FaultScenario, operation: str
) -> None:
    with pgbouncer(scenario.database) as one, pgbouncer(scenario.database) as other:
        for uri, reason in (
            (one.uri(sslrootcert=str(other.ca)), "certificate"),
            (one.uri().replace("@localhost", "@127.0.0.1"), "certificate"),
            (one.uri().replace(str(scenario.parts["password"]), "wrong"), "authentication failed"),
        ):
            call = app_on(uri)
            line = scenario.assert_outcome(call, operation, NOT_EXECUTED, at_most=4)
            assert line["message"] == "database misconfigured"
            assert reason in line["reason"]
        call = app_on(one.uri())
        scenario.assert_outcome(call, operation, SUCCEEDED, at_most=4)


@each_kind_of_statement
def test_query_wait_timeout_is_not_executed(scenario: FaultScenario, operation: str) -> None:
    """PgBouncer raises it before it sends the statement to the server."""
    with pgbouncer(scenario.database, default_pool_size=1, query_wait_timeout=0.4) as pooler:
        call = app_on(pooler.uri())
        with closing(psycopg2.connect(pooler.uri())) as occupied:
            occupied.cursor().execute("SELECT 1")
            line = scenario.assert_outcome(call, operation, NOT_EXECUTED, at_most=4)
            assert "query_wait_timeout" in line["reason"]
            occupied.rollback()  # or PgBouncer would close the server connection
        scenario.assert_outcome(call, operation, SUCCEEDED, at_most=4)


@each_kind_of_statement
def test_max_client_conn_is_retried_until_the_deadline(
    scenario: FaultScenario, operation: str
) -> None:
    with pgbouncer(scenario.database, max_client_conn=1) as pooler:
        occupied = psycopg2.connect(pooler.uri())
        call = app_on(pooler.uri(), database_timeout_seconds=TIMEOUT_SECONDS)
        line = scenario.assert_outcome(call, operation, NOT_EXECUTED)
        assert line["message"] == "database unavailable"
        assert "no more connections allowed" in line["reason"]
        # The default timeout, because the pauses between attempts are random.
        one = app_on(pooler.uri())
        other = app_on(pooler.uri())
        threading.Timer(0.3, occupied.close).start()
        # The second one needs the connection that the first one has closed.
        for call in (one, other):
            scenario.assert_outcome(call, operation, SUCCEEDED, at_most=9)


@pytest.mark.parametrize("server_connections", [1, 2])
def test_fifty_users_on_few_server_connections_read_and_write_only_own_todos(
    database: str, server_connections: int, *, soak: bool
) -> None:
    """Also right after a statement that failed."""
    rounds = 40 if soak else 2
    fails = "ALTER TABLE todos ADD CONSTRAINT fails CHECK (title <> 'fails')"
    with (
        changed_database(database, fails, "ALTER TABLE todos DROP CONSTRAINT fails"),
        pgbouncer(database, default_pool_size=server_connections) as pooler,
    ):
        shared = Database(pooler.uri)
        with shared.session(user_id="victim", timeout_seconds=20) as session:
            anothers, _ = repository.TodoRepository(session, "victim").create(TodoCreate(title="x"))

        def work(number: int) -> None:
            user = f"{server_connections}-{number}"
            expected: list[TodoPublic] = []
            for _ in range(rounds):
                with shared.session(user_id=user, timeout_seconds=20) as session:
                    todos = repository.TodoRepository(session, user)
                    with pytest.raises(IntegrityError):
                        todos.create(TodoCreate(title="fails"))
                    todo, _ = todos.create(TodoCreate(title=user))
                    with pytest.raises(repository.TodoNotFound):
                        todos.delete(anothers.id)
                    expected = [todos.toggle(todo.id), *expected]
                    assert todos.list(TodoQuery(limit=100)).items == expected

        with ThreadPoolExecutor(50) as executor:
            assert list(executor.map(work, range(50))) == [None] * 50
