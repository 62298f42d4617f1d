"""Connecting to the database.

Which refusals are retried, what the log says of them, and settings of the role that do no harm.
"""

import random
import re
import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from dev.lab.sql import run_sql
from tests.support.http.apps import app_on
from tests.support.http.assertions import assert_problem, database_failure, log_text
from tests.support.postgres.refusing_server import refusing_server
from todo_api.database.engine import Database
from todo_api.database.todos import TodoRepository
from todo_api.models.todos import TodoQuery

# PostgreSQL's own texts. Those of Neon's proxy are in test_neon_refusals.py.
USELESS = [
    'no pg_hba.conf entry for host "127.0.0.1", user "user", database "db", no encryption',
    'password authentication failed for user "user"',
    'database "db" does not exist',
    'role "user" does not exist',
    'role "user" is not permitted to log in',
    'permission denied for database "db"',
]
PASSING = [
    "the database system is starting up",
    "the database system is shutting down",
    "sorry, too many clients already",
    "remaining connection slots are reserved for roles with the SUPERUSER attribute",
]


@pytest.mark.parametrize(
    ("message", "is_useless"),
    [*((text, True) for text in USELESS), *((text, False) for text in PASSING)],
)
def test_a_refusal_is_retried_only_where_that_may_help(
    message: str, *, is_useless: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with refusing_server(message) as server:
        call = app_on(server.uri, database_timeout_seconds=2)
        problem = assert_problem(call("GET", "/v1/todos", user="x"), 503)
    assert problem["type"] == "urn:todo-api:problem:database-unavailable:not-executed"
    assert (server.connections == 1) is is_useless
    expected = "database misconfigured" if is_useless else "database unavailable"
    assert database_failure(caplog) == (expected, "connect", f"FATAL:  {message}")
    assert "s3cr3t" not in log_text(caplog)


def test_the_pauses_between_attempts_do_not_come_from_pythons_generator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A SnapStart snapshot contains the generator's state, so all its copies would pause alike."""
    pauses: list[float] = []
    monkeypatch.setattr("todo_api.database.engine.time.sleep", pauses.append)
    for _ in range(2):
        random.seed(1)
        with refusing_server("starting up") as server:
            call = app_on(server.uri, database_timeout_seconds=1.5)
            assert call("GET", "/v1/todos", user="x").status == 503
        pauses.append(-1)
    end = pauses.index(-1)
    assert end > 0
    assert pauses[0] != pauses[end + 1]


def test_the_pauses_between_attempts_double_up_to_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bounds: list[tuple[float, float]] = []

    class EnoughSeen(Exception):
        """So that the test need not wait for the deadline."""

    def uniform(shortest: float, longest: float) -> float:
        bounds.append((shortest, longest))
        if len(bounds) == 7:
            raise EnoughSeen
        return 0

    monkeypatch.setattr("todo_api.database.engine._random", Mock(uniform=uniform))
    with refusing_server("the database system is starting up") as server:
        database = Database(lambda: server.uri)
        with (
            database.session(user_id="x", timeout_seconds=60) as session,
            pytest.raises(EnoughSeen),
        ):
            session.connection()

    assert bounds == [(0, 0.05), (0, 0.1), (0, 0.2), (0, 0.4), (0, 0.8), (0, 1), (0, 1)]


@pytest.mark.parametrize(
    "setting", ["client_encoding = LATIN1", "datestyle = 'SQL, DMY'", "timezone = 'Asia/Tokyo'"]
)
def test_settings_of_the_login_role_change_no_response(
    new_migrated: Callable[[], str], setting: str
) -> None:
    uri = new_migrated()
    run_sql(uri, f"ALTER DATABASE {parse_dsn(uri)['dbname']} SET {setting}")
    call = app_on(uri)
    todo = call("POST", "/v1/todos", user="x", json={"title": "買い物 🌱"}).json()
    assert todo["title"] == "買い物 🌱"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", todo["created_at"])
    assert call("GET", "/v1/todos", user="x").json()["items"] == [todo]


def test_two_threads_whose_password_is_refused_at_once_both_succeed(
    new_migrated: Callable[[], str],
) -> None:
    """The second thread finds a URL that the first has read again, but has not tried itself."""
    uri = new_migrated()
    urls = [uri.replace(f":{parse_dsn(uri)['password']}@", ":old@"), uri, uri]
    barrier = threading.Barrier(2)
    database = Database(lambda: urls.pop(0))
    outcomes: list[Any] = []
    connect = psycopg2.connect

    def connect_at_once(url: str, **options: Any) -> Any:
        try:
            return connect(url, **options)
        finally:
            if ":old@" in url:
                barrier.wait(10)

    def list_todos() -> None:
        with database.session(user_id="x", timeout_seconds=8) as session:
            outcomes.append(TodoRepository(session, "x").list(TodoQuery()).items)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg2, "connect", connect_at_once)
        database._url = urls.pop(0)  # both threads begin with the old URL
        threads = [threading.Thread(target=list_todos) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outcomes == [[], []]
