"""What `/ready` refuses by name: every way in which a database no longer isolates users."""

from collections.abc import Callable

import pytest

from tests.support.http.apps import app_on
from tests.support.postgres.damages import HARMLESS, LOST, REPAIRED, REPORTED


@pytest.mark.parametrize(("statements", "reason"), REPAIRED + REPORTED + LOST, ids=str)
def test_ready_refuses_a_damaged_database_by_name(
    change: Callable[[list[str]], str],
    statements: list[str],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    uri = change(statements)

    with app_on(uri) as call:
        response = call("GET", "/ready")

    assert (response.status, response.json()["type"]) == (503, "urn:todo-api:problem:not-ready")
    (line,) = [line.__dict__ for line in caplog.records if line.getMessage() == "not ready"]
    assert reason in line["reason"]


@pytest.mark.parametrize("statements", HARMLESS, ids=str)
def test_ready_accepts_a_database_that_has_more_than_it_needs(
    change: Callable[[list[str]], str], statements: list[str]
) -> None:
    uri = change(statements)

    with app_on(uri) as call:
        assert call("GET", "/ready").status == 200
