"""What the log says of a request's wait for the database."""

from typing import Any

import pytest

from dev.lab.sql import changed_database
from dev.ports import free_port
from tests.support.http.apps import app_on
from tests.support.postgres.fault_scenario import FaultScenario

OF_THE_DATABASE = {"attempts", "connect_milliseconds", "statement_milliseconds"}


def _logged(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """Return what the line of the only request says."""
    (record,) = [record for record in caplog.records if record.getMessage() == "request"]
    return vars(record)


def test_connecting_and_the_statement_are_measured_apart(
    scenario: FaultScenario, caplog: pytest.LogCaptureFixture
) -> None:
    scenario.proxy.sleep_seconds = 0.3  # before each connection
    slow = "CREATE POLICY slow ON todos AS RESTRICTIVE USING (pg_sleep(0.3) IS NOT NULL)"

    call = app_on(scenario.uri())
    with changed_database(scenario.database, slow, "DROP POLICY slow ON todos"):
        assert call("GET", f"/v1/todos/{scenario.todo}", user=scenario.user).status == 200

    line = _logged(caplog)
    connecting = line["connect_milliseconds"]
    statement = line["statement_milliseconds"]
    assert line["attempts"] == 1
    assert connecting >= 300
    assert statement >= 300
    assert connecting + statement <= line["milliseconds"]


def test_a_request_that_does_not_get_a_connection_has_no_time_of_a_statement(
    scenario: FaultScenario, caplog: pytest.LogCaptureFixture
) -> None:
    call = app_on(scenario.uri(port=str(free_port())), database_timeout_seconds=0.5)
    assert call("GET", "/v1/todos", user="x").status == 503

    line = _logged(caplog)
    assert line["attempts"] > 1
    assert 0 < line["connect_milliseconds"] <= line["milliseconds"]
    assert line["statement_milliseconds"] == 0


def test_a_request_that_is_refused_before_has_none_of_it(
    scenario: FaultScenario, caplog: pytest.LogCaptureFixture
) -> None:
    call = app_on(scenario.uri())
    assert call("GET", "/v1/todos?limit=0", user="x").status == 422

    assert OF_THE_DATABASE & _logged(caplog).keys() == set()
