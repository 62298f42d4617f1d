"""What many tests assert."""

import json
from typing import Any

import pytest

CANARY = "s3cr3t-canary"


def assert_problem(answer: Any, status: int) -> Any:
    """The answer is this problem, in the one shape of errors, and echoes nothing of the request."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    members = ["type", "title", "status", "detail", *(["errors"] if status == 422 else []), "request_id"]
    assert list(problem) == members
    assert problem["status"] == status
    assert problem["type"].startswith("urn:todo-api:problem:")
    assert problem["request_id"] == answer.headers["x-request-id"]
    for error in problem.get("errors", []):
        assert list(error) == ["in", "field", "detail"]
        assert error["in"] in ("body", "query", "path", "header")
        assert error["detail"]
    assert CANARY.encode() not in answer.body
    return problem


def log_text(caplog: pytest.LogCaptureFixture) -> str:
    """Everything that was logged, with all that a formatter could show."""
    shown = [json.dumps(vars(record), default=str) + record.getMessage() for record in caplog.records]
    return "\n".join([*shown, caplog.text])
