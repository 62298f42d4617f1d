"""A failing database, and the assertions that hold for every fault."""

import time
from typing import Any

import pytest
from psycopg2.extensions import parse_dsn

from dev.lab.proxy import FaultyProxy
from dev.lab.sql import run_sql
from tests.support.documents.openapi import OPERATIONS
from tests.support.http.apps import app_on
from tests.support.http.assertions import assert_problem, database_failures, log_text
from tests.support.http.clients import Api, Response

TIMEOUT_SECONDS = 1.0
SUCCEEDED = "succeeded"
NOT_EXECUTED = "not-executed"
UNKNOWN = "outcome-unknown"
STATUSES = {NOT_EXECUTED: 503, UNKNOWN: 504}
"""By outcome of a failure: the status."""

REQUESTS = {"list": "listTodos", "create": "createTodo", "toggle": "toggleTodo"}
"""One operation for each kind of statement: a read, an insert and an update."""

each_kind_of_statement = pytest.mark.parametrize("operation", REQUESTS)


def assert_failure(response: Response, *, is_misconfigured: bool = False) -> str:
    """Assert that the response is a failure of the database, and return its outcome."""
    problem = assert_problem(response, response.status)
    outcome = str(problem["type"].removeprefix("urn:todo-api:problem:database-unavailable:"))
    assert response.status == STATUSES[outcome]
    retry_after = ("60" if is_misconfigured else "1") if outcome == NOT_EXECUTED else None
    assert response.headers.get("retry-after") == retry_after
    return outcome


class FaultScenario:
    """A database, a faulty proxy in front of it, and one user with one todo."""

    log: pytest.LogCaptureFixture  # of the running test

    def __init__(self, database: str) -> None:
        self.database = database
        self.parts = parse_dsn(database)
        self.proxy = FaultyProxy(int(self.parts["port"]))
        self.user = f"user-{id(self)}"
        self.acknowledged: set[str] = set()
        self.todo = ""
        call = app_on(self.uri())
        self.todo = self.request(call, "create").json()["id"]

    def uri(self, **parts: str) -> str:
        """Return the database's URI through the proxy.

        `parts` overrides host, port, user, password or dbname.
        """
        all_ = {**self.parts, "host": "127.0.0.1", "port": str(self.proxy.port), **parts}
        return "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**all_)

    def request(self, call: Api, operation: str) -> Response:
        """Send a request, and record the ID of an acknowledged create."""
        described = OPERATIONS[REQUESTS[operation]]
        path = described.path.replace("{id}", self.todo)
        body: Any = {"title": "new"} if described.has_body else ...
        response = call(described.method, path, user=self.user, json=body)
        if response.status == 201:
            self.acknowledged.add(response.json()["id"])
        return response

    def rows(self) -> set[str]:
        """Return the IDs of all todos of the user."""
        # The user is our own.
        query = f"SELECT id::text FROM todos WHERE user_id = '{self.user}'"  # noqa: S608
        return {todo_id for (todo_id,) in run_sql(self.database, query)}

    def connections(self) -> int:
        """Count the connections to the database, without the one that counts."""
        ((number,),) = run_sql(
            self.database,
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )
        return int(number)

    def assert_outcome(
        self, call: Api, operation: str, *outcomes: str, at_most: float = TIMEOUT_SECONDS + 1
    ) -> dict[str, Any]:
        """Send a request during a fault; check outcome, duration, rows and log.

        Returns the failure's log record.
        """
        self.log.clear()
        before = self.rows()
        began = time.monotonic()
        response = self.request(call, operation)
        seconds = time.monotonic() - began
        after = self.rows()
        lines = database_failures(self.log)
        outcome = SUCCEEDED
        if response.status >= 300:
            is_misconfigured = lines[0]["message"] == "database misconfigured"
            outcome = assert_failure(response, is_misconfigured=is_misconfigured)
        assert outcome in outcomes
        assert seconds < at_most
        assert self.acknowledged <= after
        if outcome == NOT_EXECUTED:
            assert after == before
        records = self.log.records
        assert not [
            record for record in records if "unexpected" in record.getMessage() or record.exc_info
        ]
        assert len(lines) == (outcome != SUCCEEDED)
        text = log_text(self.log)
        assert str(self.parts["password"]) not in text
        assert self.user not in text
        return lines[0] if lines else {}

    def assert_recovery(self, call: Api | None = None) -> None:
        """End the fault, and check that all connections close and the next requests succeed."""
        self.proxy.end_fault()
        deadline = time.monotonic() + 10
        while (found := (self.proxy.open, self.connections())) != (0, 0):
            assert time.monotonic() < deadline, found
            time.sleep(0.02)
        if call is not None:
            for operation in REQUESTS:
                assert self.request(call, operation).status in (200, 201)
