"""Connections and statements that PgBouncer refuses, and certificates that libpq refuses."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg2
import pytest

from tests.support.apps import app_on
from tests.support.fault_scenario import NOT_EXECUTED, OPERATIONS, TIMEOUT_SECONDS, FaultScenario, assert_outcome
from tests.support.pgbouncer import pgbouncer

pytestmark = [pytest.mark.pgbouncer, pytest.mark.parametrize("operation", OPERATIONS)]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """An exit stack that stops the poolers at the end of a test."""
    with ExitStack() as opened:
        yield opened


def test_verify_full_refuses_another_authority_or_host_name(
    scenario: FaultScenario, stack: ExitStack, caplog: pytest.LogCaptureFixture, operation: str
) -> None:
    one, other = [stack.enter_context(pgbouncer(scenario.database)) for _ in range(2)]
    for uri in (one.uri(sslrootcert=str(other.ca)), one.uri().replace("@localhost", "@127.0.0.1")):
        with app_on(uri) as call:
            line = assert_outcome(scenario, call, operation, {NOT_EXECUTED}, caplog, at_most=4)
            assert line["message"] == "database misconfigured"
            assert "certificate" in line["reason"]
    with app_on(one.uri()) as call:
        assert scenario.request(call, operation).status in (200, 201)


def test_a_wrong_password_is_misconfigured_and_not_retried(
    scenario: FaultScenario, stack: ExitStack, caplog: pytest.LogCaptureFixture, operation: str
) -> None:
    pooler = stack.enter_context(pgbouncer(scenario.database))
    with app_on(pooler.uri().replace(str(scenario.parts["password"]), "wrong")) as call:
        line = assert_outcome(scenario, call, operation, {NOT_EXECUTED}, caplog, at_most=4)
        assert line["message"] == "database misconfigured"
        assert "authentication failed" in line["reason"]


def test_query_wait_timeout_is_not_executed(
    scenario: FaultScenario, stack: ExitStack, caplog: pytest.LogCaptureFixture, operation: str
) -> None:
    """PgBouncer raises it before it sends the statement to the server."""
    pooler = stack.enter_context(pgbouncer(scenario.database, default_pool_size=1, query_wait_timeout=0.4))
    occupied = psycopg2.connect(pooler.uri())
    with occupied.cursor() as cursor:
        cursor.execute("SELECT 1")
    with app_on(pooler.uri()) as call:
        line = assert_outcome(scenario, call, operation, {NOT_EXECUTED}, caplog, at_most=4)
        assert "query_wait_timeout" in line["reason"]
        occupied.rollback()
        occupied.close()
        assert scenario.request(call, operation).status in (200, 201)


def test_max_client_conn_is_retried_until_the_deadline(
    scenario: FaultScenario, stack: ExitStack, caplog: pytest.LogCaptureFixture, operation: str
) -> None:
    pooler = stack.enter_context(pgbouncer(scenario.database, max_client_conn=1))
    occupied = psycopg2.connect(pooler.uri())
    with app_on(pooler.uri(), database_timeout_seconds=TIMEOUT_SECONDS) as call:
        line = assert_outcome(scenario, call, operation, {NOT_EXECUTED}, caplog)
        assert line["message"] == "database unavailable"
        assert "no more connections allowed" in line["reason"]
    with app_on(pooler.uri()) as call:  # the default timeout, because the pauses between attempts are random
        threading.Timer(0.3, occupied.close).start()
        assert scenario.request(call, operation).status in (200, 201)
