"""What `/ready` refuses by name: each damage to the isolation between users."""

import pytest

from tests.support.http.apps import app_on, ready_status
from tests.support.postgres.damages import HARMLESS, LOST, REPAIRED, REPORTED, Change


@pytest.mark.parametrize(("statements", "reason"), REPAIRED + REPORTED + LOST, ids=str)
def test_ready_refuses_a_damaged_database_by_name(
    change: Change, statements: list[str], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    uri = change(statements)

    call = app_on(uri)
    response = call("GET", "/ready")

    assert (response.status, response.json()["type"]) == (503, "urn:todo-api:problem:not-ready")
    (line,) = [line.__dict__ for line in caplog.records if line.getMessage() == "not ready"]
    assert reason in line["reason"]


@pytest.mark.parametrize("statements", HARMLESS, ids=str)
def test_ready_accepts_a_database_that_has_more_than_it_needs(
    change: Change, statements: list[str]
) -> None:
    uri = change(statements)

    assert ready_status(uri) == 200
