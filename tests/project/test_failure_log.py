"""What the report of a failed test shows of the log."""

import logging

import pytest

from tests.support.failure_log import report_handler


def test_a_failure_shows_the_reason_and_no_line_of_a_request(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("todo_api")
    caplog.set_level(logging.INFO, logger.name)

    logger.info("request", extra={"status": 503})
    logger.error("database unavailable", extra={"reason": "disk full"})

    shown = report_handler(request.config).stream.getvalue()
    assert shown == "ERROR database unavailable reason=disk full\n"
