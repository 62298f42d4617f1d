"""Faults of the network and the server.

503 or 504 before the deadline, no partial writes, and the next request succeeds.
"""

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg2
import pytest

from dev.lab.sql import changed_database, run_sql
from dev.postgres import Postgres
from migrations.__main__ import migrate
from tests.support.http.apps import app_on
from tests.support.postgres.fault_scenario import (
    NOT_EXECUTED,
    REQUESTS,
    SUCCEEDED,
    TIMEOUT_SECONDS,
    UNKNOWN,
    FaultScenario,
    assert_failure,
    each_kind_of_statement,
)

pytestmark = pytest.mark.slow

FAULTS = {
    "silent": (NOT_EXECUTED, "connect", None, "TLS handshake timed out"),
    "silent in the TLS handshake": (NOT_EXECUTED, "connect", None, "TLS handshake timed out"),
    "reset, then silent": (NOT_EXECUTED, "connect", None, "closed|reset"),
    "frozen before the query": (UNKNOWN, "execute", None, "no answer, not even PostgreSQL's own"),
    "frozen mid-answer": (UNKNOWN, "execute", None, "no answer, not even PostgreSQL's own"),
    "reset before the query": (UNKNOWN, "execute", None, "closed|reset"),
    "reset after the query was sent": (UNKNOWN, "execute", None, "closed|reset"),
    "reset mid-answer": (UNKNOWN, "execute", None, "closed|reset"),
    "disk full": (NOT_EXECUTED, "execute", "53100", "refused by the test"),
    "too many connections": (NOT_EXECUTED, "execute", "53300", "refused by the test"),
    "serialization failure": (NOT_EXECUTED, "execute", "40001", "refused by the test"),
    "statement too complex": (NOT_EXECUTED, "execute", "54001", "StatementTooComplex"),
    "bad data": (NOT_EXECUTED, "execute", "XX001", "DataCorrupted"),
}
"""By fault: its outcome, and the phase, the SQLSTATE and the reason in the log."""


@pytest.mark.parametrize(
    ("fault", "operation"),
    [
        (fault, operation)
        for fault, (_, phase, *_) in FAULTS.items()
        # Every operation connects alike.
        for operation in (["create"] if phase == "connect" else REQUESTS)
    ],
)
def test_a_fault_is_a_503_or_504_with_the_right_outcome_and_log(
    scenario: FaultScenario, fault: str, operation: str
) -> None:
    outcome, phase, sqlstate, reason = FAULTS[fault]
    call = app_on(scenario.uri(), database_timeout_seconds=TIMEOUT_SECONDS)
    scenario.proxy.fault = fault
    scenario.proxy.sqlstate = sqlstate or ""
    line = scenario.assert_outcome(call, operation, outcome)
    assert (line["phase"], line["sqlstate"]) == (phase, sqlstate)
    assert re.search(reason, line["reason"])
    scenario.assert_recovery(call)


@pytest.mark.parametrize(
    "fault", [fault for fault, (outcome, *_) in FAULTS.items() if outcome == UNKNOWN]
)
def test_retrying_a_create_of_unknown_outcome_with_its_key_creates_one_todo(
    scenario: FaultScenario, fault: str
) -> None:
    before = scenario.rows()
    headers = {"Idempotency-Key": fault.replace(" ", "-")}
    request: dict[str, Any] = {"user": scenario.user, "json": {"title": "once"}, "headers": headers}
    call = app_on(scenario.uri(), database_timeout_seconds=TIMEOUT_SECONDS)
    scenario.proxy.fault = fault
    assert assert_failure(call("POST", "/v1/todos", **request)) == UNKNOWN
    has_run = scenario.rows() != before
    assert has_run is not fault.endswith("before the query")
    scenario.assert_recovery()
    retry = call("POST", "/v1/todos", **request)
    assert retry.status == 201
    assert ("idempotency-replayed" in retry.headers) is has_run
    assert scenario.rows() - before == {retry.json()["id"]}


# --- the database ---------------------------------------------------------------------------------


@contextmanager
def locked(scenario: FaultScenario) -> Iterator[None]:
    """Lock the table.

    Meanwhile `rows` returns the IDs from before, because it would wait for the lock too.
    """
    rows = scenario.rows()
    connection = psycopg2.connect(scenario.database)
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE todos IN ACCESS EXCLUSIVE MODE")
    scenario.rows = lambda: rows  # type: ignore[method-assign]  # while the lock is held
    try:
        yield
    finally:
        del scenario.rows
        connection.close()
    assert scenario.rows() == rows


def slow(scenario: FaultScenario) -> AbstractContextManager[None]:
    """Delay every row by 3 s."""
    delay = "pg_sleep(3) IS NOT NULL"
    create = f"CREATE POLICY slow ON todos AS RESTRICTIVE USING ({delay}) WITH CHECK ({delay})"
    return changed_database(scenario.database, create, "DROP POLICY slow ON todos")


def read_only(scenario: FaultScenario) -> AbstractContextManager[None]:
    """Make the database read-only, as a replica is."""
    database = f"ALTER DATABASE {scenario.parts['dbname']}"
    setting = "default_transaction_read_only"
    undo = (f"SET {setting} = off", f"{database} RESET {setting}")
    return changed_database(scenario.database, f"{database} SET {setting} = on", *undo)


@each_kind_of_statement
@pytest.mark.parametrize(
    ("fault", "sqlstate"), [(locked, "57014"), (slow, "57014"), (read_only, "25006")]
)
def test_a_statement_on_a_locked_slow_or_read_only_database_is_not_executed(
    scenario: FaultScenario, fault: Any, sqlstate: str, operation: str
) -> None:
    timeout = 2 * TIMEOUT_SECONDS  # the server's statement_timeout is 90 % of it
    expected = (NOT_EXECUTED, "execute", sqlstate)
    if fault is read_only and operation == "list":
        expected = (SUCCEEDED, "", "")
    call = app_on(scenario.uri(), database_timeout_seconds=timeout)
    with fault(scenario):
        line = scenario.assert_outcome(call, operation, expected[0], at_most=timeout + 1)
    assert (line.get("phase", ""), line.get("sqlstate", "")) == expected[1:]
    scenario.assert_recovery(call)


@each_kind_of_statement
def test_a_terminated_connection_is_of_unknown_outcome(
    scenario: FaultScenario, operation: str
) -> None:
    """The server may terminate a connection after the statement has committed."""

    def terminate() -> None:
        statement = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        for _ in range(500):
            if run_sql(scenario.database, statement):
                return
            time.sleep(0.01)

    call = app_on(scenario.uri())
    with locked(scenario):
        terminator = threading.Thread(target=terminate)
        terminator.start()
        line = scenario.assert_outcome(call, operation, UNKNOWN, at_most=7)
        terminator.join()
    assert line["phase"] == "execute"
    assert "terminating connection due to administrator command" in line["reason"]
    scenario.assert_recovery(call)


def test_acknowledged_rows_survive_crashes_of_postgresql(caplog: pytest.LogCaptureFixture) -> None:
    with (
        TemporaryDirectory(prefix="todo-api-restart-") as folder,
        Postgres(Path(folder)) as postgres,
    ):
        migrate(postgres.uri)
        scenario = FaultScenario(postgres.uri)
        status = Path(folder) / "data" / "postmaster.pid"
        call = app_on(scenario.uri(), database_timeout_seconds=TIMEOUT_SECONDS)
        for operation in REQUESTS:
            rows = scenario.rows()
            os.kill(int(status.read_text().split()[0]), signal.SIGKILL)
            began = time.monotonic()
            response = scenario.request(call, operation)
            assert time.monotonic() - began < TIMEOUT_SECONDS + 1
            assert response.status in (200, 201) or assert_failure(response)
            assert scenario.acknowledged | rows <= _rows_after_restart(scenario)
        scenario.assert_recovery(call)
    assert not [record for record in caplog.records if "unexpected" in record.getMessage()]


def _rows_after_restart(scenario: FaultScenario) -> set[str]:
    deadline = time.monotonic() + 10
    while True:
        try:
            return scenario.rows()
        except psycopg2.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
