"""Every operation of the document while the database fails."""

import pytest

from tests.support.documents.openapi import OPERATIONS
from tests.support.documents.operations import Operation
from tests.support.documents.walk import Caller
from tests.support.http.apps import app_on
from tests.support.postgres.fault_scenario import (
    NOT_EXECUTED,
    UNKNOWN,
    FaultScenario,
    assert_failure,
)

OF_A_USER = {name: operation for name, operation in OPERATIONS.items() if operation.needs_user}


@pytest.mark.parametrize("operation", OF_A_USER.values(), ids=OF_A_USER)
@pytest.mark.parametrize(
    ("fault", "sqlstate", "outcome"),
    [("", "53100", NOT_EXECUTED), ("reset after the query was sent", "", UNKNOWN)],
    ids=["disk full", "answer lost"],
)
def test_an_operation_fails_with_the_outcome_of_the_fault(
    scenario: FaultScenario, fault: str, sqlstate: str, outcome: str, operation: Operation
) -> None:
    call = app_on(scenario.uri())
    caller = Caller(call, call.user_id("unlucky"), list(OPERATIONS.values()))
    request = next(caller.requests(operation))
    scenario.proxy.fault = fault
    scenario.proxy.sqlstate = sqlstate

    response = caller.send(request)

    scenario.assert_recovery(call)
    assert assert_failure(response) == outcome
