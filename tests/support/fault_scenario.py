"""A failing database, and the assertions that hold for every fault."""

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

TIMEOUT_SECONDS = 1.0
OPERATIONS = ["list", "create", "toggle"]
SUCCEEDED, NOT_EXECUTED, UNKNOWN = "succeeded", "not-executed", "outcome-unknown"


class FaultScenario:
    """A database, a faulty proxy in front of it, and one user with one todo."""

    def __init__(self, database: str) -> None:
        self.database = database
        self.parts = parse_dsn(database)
        self.proxy = FaultyProxy(int(self.parts["port"]))
        self.user = f"user-{id(self)}"
        with app_on(self.uri()) as call:
            response = call("POST", "/v1/todos", user=self.user, json={"title": "existing"})
            assert response.status == 201
            self.todo = response.json()["id"]
        self.acknowledged = {self.todo}

    def uri(self, **parts: str) -> str:
        """Return the database's URI through the proxy; `parts` overrides host, port, user, password or dbname."""
        all_ = {**self.parts, "host": "127.0.0.1", "port": str(self.proxy.port), **parts}
        return "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**all_)

    def request(self, call: Api, operation: str) -> Response:
        """Send a request, and record the ID of an acknowledged create."""
        if operation == "list":
            return call("GET", "/v1/todos?limit=100", user=self.user)
        if operation == "toggle":
            return call("POST", f"/v1/todos/{self.todo}/toggle", user=self.user)
        response = call("POST", "/v1/todos", user=self.user, json={"title": "new"})
        if response.status == 201:
            self.acknowledged.add(response.json()["id"])
        return response

    @contextmanager
    def superuser(self) -> Iterator[Any]:
        """Open a cursor on the database, without the proxy."""
        connection = psycopg2.connect(self.database, application_name="observer")
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor
        connection.close()

    def rows(self) -> set[str]:
        """Return the IDs of all todos of the user."""
        with self.superuser() as cursor:
            cursor.execute("SELECT id::text FROM todos WHERE user_id = %s", (self.user,))
            return {row[0] for row in cursor.fetchall()}

    def connections(self) -> int:
        """Count the connections to the database, without those of `superuser`."""
        with self.superuser() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND backend_type = 'client backend' AND application_name <> 'observer'"
            )
            (row,) = cursor.fetchall()
            return int(row[0])


def assert_outcome(
    scenario: FaultScenario,
    call: Api,
    operation: str,
    outcomes: set[str],
    caplog: pytest.LogCaptureFixture,
    *,
    at_most: float = TIMEOUT_SECONDS + 1,
) -> dict[str, Any]:
    """Send a request during a fault, check outcome, duration, rows and log, and return the failure's log record."""
    caplog.clear()
    before = scenario.rows()
    began = time.monotonic()
    response = scenario.request(call, operation)
    seconds = time.monotonic() - began
    after = scenario.rows()
    outcome = SUCCEEDED
    if response.status >= 300:
        outcome = assert_problem(response, 503)["type"].removeprefix("urn:todo-api:problem:database-unavailable:")
        assert response.headers["retry-after"] == "1"
    print(f"{operation}: {outcome} after {seconds:.2f} s")
    assert outcome in outcomes
    assert seconds < at_most
    assert scenario.acknowledged <= after
    if outcome == NOT_EXECUTED:
        assert after == before
    assert not [record for record in caplog.records if "unexpected" in record.getMessage() or record.exc_info]
    lines = [record.__dict__ for record in caplog.records if record.getMessage().startswith("database ")]
    assert len(lines) == (outcome != SUCCEEDED)
    text = caplog.text + str([record.__dict__ for record in caplog.records])
    assert str(scenario.parts["password"]) not in text
    assert scenario.user not in text
    return lines[0] if lines else {}


def assert_recovery(scenario: FaultScenario, call: Api | None = None) -> None:
    """End the fault, and check that all connections close and the next requests succeed."""
    scenario.proxy.fault = scenario.proxy.sqlstate = ""
    scenario.proxy.sleep_seconds = 0
    deadline = time.monotonic() + 10
    while (scenario.proxy.open or scenario.connections()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (scenario.proxy.open, scenario.connections()) == (0, 0)
    if call is not None:
        for operation in OPERATIONS:
            assert scenario.request(call, operation).status in (200, 201)
