"""Assertions shared by many tests."""

import json
from typing import Any

import pytest

CANARY = "s3cr3t-canary"
"""User input that must not appear in error responses or in the log."""


def assert_problem(response: Any, status: int) -> Any:
    """Assert that the response is a problem with this status, and return its JSON."""
    assert response.status == status, response
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    errors = ["errors"] if status == 422 else []
    assert list(problem) == ["type", "title", "status", "detail", *errors, "request_id"]
    assert problem["status"] == status
    assert problem["type"].startswith("urn:todo-api:problem:")
    assert problem["request_id"] == response.headers["x-request-id"]
    for error in problem.get("errors", []):
        assert list(error) == ["in", "field", "detail"]
        assert error["in"] in ("body", "query", "path", "header")
        assert error["detail"]
    assert CANARY.encode() not in response.body
    return problem


def database_failures(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return the lines that the application has logged about failures of the database."""
    return [
        vars(record) for record in caplog.records if record.getMessage().startswith("database ")
    ]


def database_failure(caplog: pytest.LogCaptureFixture) -> tuple[str, str, str]:
    """Return message, phase and reason of the only such line."""
    (line,) = database_failures(caplog)
    return line["message"], line["phase"], line["reason"]


def log_text(caplog: pytest.LogCaptureFixture) -> str:
    """Return all log records with all their attributes, as a formatter could print them."""
    shown = [
        json.dumps(vars(record), default=str) + record.getMessage() for record in caplog.records
    ]
    return "\n".join([*shown, caplog.text])
