"""What the log says of a statement for which the schema lacks something."""

from collections.abc import Callable

import pytest

from dev.lab.sql import run_sql
from tests.support.http.apps import app_on
from tests.support.http.assertions import CANARY, assert_problem, database_failure, log_text

LACKING = {
    "ALTER TABLE todos DROP COLUMN description": (
        'column "description" of relation "todos" does not exist'
    ),
    "DROP TABLE todos": 'relation "todos" does not exist',
    "REVOKE INSERT ON todos FROM todo_app": "permission denied for table todos",
    "DROP INDEX todos_by_idempotency_key": (
        "there is no unique or exclusion constraint matching the ON CONFLICT specification"
    ),
}
"""By change: the reason in the log."""


@pytest.mark.parametrize("change", LACKING)
def test_the_log_names_the_column_table_right_or_index_that_is_missing(
    new_migrated: Callable[[], str], caplog: pytest.LogCaptureFixture, change: str
) -> None:
    uri = new_migrated()
    run_sql(uri, change)

    call = app_on(uri)
    headers = {"Idempotency-Key": "one"}
    response = call("POST", "/v1/todos", user="alice", json={"title": CANARY}, headers=headers)

    assert_problem(response, 503)
    assert database_failure(caplog) == ("database misconfigured", "execute", LACKING[change])
    assert CANARY not in log_text(caplog)
