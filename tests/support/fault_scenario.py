"""A database that fails, and what must hold then."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from tests.support.apps import app_on
from tests.support.assertions import assert_problem
from tests.support.clients import Api, Response
from tests.support.proxy import FaultyProxy

BUDGET = 1.0


OPERATIONS = ["list", "create", "toggle"]


NOT_EXECUTED, UNKNOWN, FINE = "not-executed", "outcome-unknown", "fine"


class FaultScenario:
    """A database, a proxy that can make trouble in front of it, the API behind that, and one user with one todo."""

    def __init__(self, database: str) -> None:
        self.database = database
        self.parts = parse_dsn(database)
        self.proxy = FaultyProxy(int(self.parts["port"]))
        self.user = f"user-{id(self)}"
        with app_on(self.uri()) as call:
            answer = call("POST", "/v1/todos", user=self.user, json={"title": "there before"})
            assert answer.status == 201
            self.todo = answer.json()["id"]
        self.acknowledged = {self.todo}

    def uri(self, query: str = "", **parts: str) -> str:
        """The database's URI, through the proxy unless told otherwise."""
        all_ = {**self.parts, "host": "127.0.0.1", "port": str(self.proxy.port), **parts}
        return "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**all_) + query

    def request(self, call: Api, operation: str) -> Response:
        """Send one of the three kinds of requests."""
        if operation == "list":
            return call("GET", "/v1/todos?limit=100", user=self.user)
        if operation == "toggle":
            return call("POST", f"/v1/todos/{self.todo}/toggle", user=self.user)
        answer = call("POST", "/v1/todos", user=self.user, json={"title": "new"})
        if answer.status == 201:
            self.acknowledged.add(answer.json()["id"])
        return answer

    @contextmanager
    def superuser(self) -> Iterator[Any]:
        """A cursor on the database itself."""
        connection = psycopg2.connect(self.database, application_name="observer")
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor
        connection.close()

    def rows(self) -> set[str]:
        """The ids of all todos of the user."""
        with self.superuser() as cursor:
            cursor.execute("SELECT id::text FROM todos WHERE user_id = %s", (self.user,))
            return {row[0] for row in cursor.fetchall()}

    def connections(self) -> int:
        """How many connections to the database there are, but for those that ask, or have just asked."""
        with self.superuser() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND backend_type = 'client backend' AND application_name <> 'observer'"
            )
            (row,) = cursor.fetchall()
            return int(row[0])


def check(
    world: FaultScenario,
    call: Api,
    operation: str,
    outcomes: set[str],
    caplog: pytest.LogCaptureFixture,
    *,
    at_most: float = BUDGET + 1,
) -> dict[str, Any]:
    """Send a request into trouble; what must hold, and the line in the log."""
    caplog.clear()
    before = world.rows()
    began = time.monotonic()
    answer = world.request(call, operation)
    seconds = time.monotonic() - began
    after = world.rows()
    if answer.status < 300:
        outcome = FINE
    else:
        problem = assert_problem(answer, 503)
        outcome = problem["type"].removeprefix("urn:todo-api:problem:database-unavailable:")
        assert answer.headers["retry-after"] == "1"
    print(f"{operation}: {outcome} after {seconds:.2f} s")
    assert outcome in outcomes
    assert seconds < at_most
    assert world.acknowledged <= after
    if outcome == NOT_EXECUTED:
        assert after == before
    assert not [record for record in caplog.records if "unexpected" in record.getMessage() or record.exc_info]
    lines = [record.__dict__ for record in caplog.records if record.getMessage().startswith("database ")]
    assert len(lines) == (outcome != FINE)
    text = caplog.text + str([record.__dict__ for record in caplog.records])
    assert str(world.parts["password"]) not in text
    assert world.user not in text
    return lines[0] if lines else {}


def afterwards(world: FaultScenario, call: Api | None = None) -> None:
    """No connection is left behind, and the next request works."""
    world.proxy.trouble = world.proxy.sqlstate = ""
    world.proxy.sleep_seconds = 0
    deadline = time.monotonic() + 10
    while (world.proxy.open or world.connections()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (world.proxy.open, world.connections()) == (0, 0)
    if call is not None:
        for operation in OPERATIONS:
            assert world.request(call, operation).status in (200, 201)
