"""The application's log as Lambda writes it."""

import json
from typing import Any

import pytest
from awslambdaric import lambda_runtime_log_utils


def lambda_log_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return the lines that Lambda's own formatter makes of what was logged."""
    formatter = lambda_runtime_log_utils.JsonFormatter()
    return [json.loads(formatter.format(record)) for record in caplog.records]
