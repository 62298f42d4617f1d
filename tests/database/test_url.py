"""The database's URL in Parameter Store: read once, read again when the password has changed, and never shown."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import psycopg2
import pytest
from moto import mock_aws
from psycopg2.extensions import parse_dsn

from migrations.__main__ import migrate
from tests.support.assertions import assert_problem, log_text
from tests.support.clients import Api, Context, invoke_app
from tests.support.events import http_api_event
from tests.support.machine import ROOT
from todo_api.app import create_app
from todo_api.settings import Settings

NAME = "/todo-api/test/neon-database-url"
FIRST, SECOND = "first-s3cr3t-password", "second-s3cr3t-password"


@pytest.fixture
def ssm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """AWS's Parameter Store, as moto plays it."""
    _environment(monkeypatch)
    with mock_aws():
        yield boto3.client("ssm")


def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.delenv("NEON_DATABASE_URL", raising=False)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each request that is sent to AWS."""
    from botocore.client import BaseClient

    seen: list[str] = []
    send = BaseClient._make_api_call

    def noted(self: Any, operation: str, parameters: Any) -> Any:
        seen.append(operation)
        return send(self, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", noted)
    return seen


@pytest.fixture
def rotate(new_database: Callable[[], str]) -> Iterator[Callable[[str], str]]:
    """Sets the password of a login role, and returns the URI with it."""
    uri = new_database()
    migrate(uri)

    def new_password(password: str) -> str:
        connection = psycopg2.connect(uri)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("DROP ROLE IF EXISTS rotating")
            cursor.execute("CREATE ROLE rotating LOGIN PASSWORD %s", (password,))
            cursor.execute("GRANT todo_app TO rotating")
        connection.close()
        parts = parse_dsn(uri)
        return f"postgresql+psycopg2://rotating:{password}@{parts['host']}:{parts['port']}/{parts['dbname']}"

    yield new_password
    new_password("no-longer-used")


def _call() -> Api:
    app = create_app(Settings(neon_database_url_parameter=NAME))
    return Api(lambda *request: invoke_app(app, http_api_event(*request), Context()))


def _put(ssm: Any, value: str) -> None:
    ssm.put_parameter(Name=NAME, Value=value, Type="SecureString", Overwrite=True)


def test_the_parameter_is_read_once(ssm: Any, rotate: Callable[[str], str], reads: list[str]) -> None:
    """The first request reads the parameter, and the following ones use what it said."""
    _put(ssm, rotate(FIRST))
    reads.clear()
    call = _call()
    assert reads == []
    assert [call("GET", "/v1/todos", user="x").status for _ in range(3)] == [200] * 3
    assert call("GET", "/health").status == 200
    assert reads == ["GetParameter"]


def test_a_rotated_password_needs_no_redeploy(
    ssm: Any, rotate: Callable[[str], str], reads: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A refused password is answered by reading the parameter again, inside the same request."""
    _put(ssm, rotate(FIRST))
    call = _call()
    assert call("POST", "/v1/todos", user="x", json={"title": "before"}).status == 201
    _put(ssm, rotate(SECOND))
    reads.clear()
    assert call("POST", "/v1/todos", user="x", json={"title": "after"}).status == 201
    assert call("GET", "/v1/todos", user="x").status == 200
    assert reads == ["GetParameter"]
    _nothing_shown(caplog)


def test_a_password_that_is_wrong_in_both_places_is_told(
    ssm: Any, rotate: Callable[[str], str], reads: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The parameter is read once more for a request, and not for ever; and again for the next request."""
    _put(ssm, rotate(FIRST).replace(FIRST, SECOND))
    call = _call()
    reads.clear()
    problem = assert_problem(call("GET", "/v1/todos", user="x"), 503)
    assert problem["type"].endswith(":not-executed")
    assert reads == ["GetParameter"] * 2
    message, phase, reason = _line(caplog)
    assert (message, phase) == ("database misconfigured", "connect")
    assert "password authentication failed" in reason
    _put(ssm, rotate(SECOND))
    assert call("GET", "/v1/todos", user="x").status == 200
    _nothing_shown(caplog)


def _line(caplog: pytest.LogCaptureFixture) -> tuple[str, str, str]:
    (line,) = [record.__dict__ for record in caplog.records if record.getMessage().startswith("database ")]
    return line["message"], line["phase"], line["reason"]


def _nothing_shown(caplog: pytest.LogCaptureFixture) -> None:
    shown = log_text(caplog)
    assert not [secret for secret in (FIRST, SECOND, NAME) if secret in shown]


def test_a_missing_parameter_is_told(ssm: Any, caplog: pytest.LogCaptureFixture) -> None:
    """503, and AWS's error code in the log."""
    assert ssm
    assert_problem(_call()("GET", "/v1/todos", user="x"), 503)
    assert _line(caplog) == ("database misconfigured", "credentials", "ParameterNotFound")


def test_a_parameter_that_holds_no_url_is_told(ssm: Any, caplog: pytest.LogCaptureFixture) -> None:
    """503, and that the value stays secret."""
    _put(ssm, f"mysql://{FIRST}")
    assert_problem(_call()("GET", "/v1/todos", user="x"), 503)
    reason = "the parameter does not hold a PostgreSQL URL"
    assert _line(caplog) == ("database misconfigured", "credentials", reason)
    _nothing_shown(caplog)


@pytest.mark.parametrize(
    ("code", "message"),
    [("AccessDeniedException", "database misconfigured"), ("ThrottlingException", "database unavailable")],
)
def test_a_refusal_of_aws_is_told(
    monkeypatch: pytest.MonkeyPatch, ssm: Any, caplog: pytest.LogCaptureFixture, code: str, message: str
) -> None:
    """503 without permission, and when AWS throttles; the next request tries again."""
    from botocore.client import BaseClient
    from botocore.exceptions import ClientError

    assert ssm
    said = {"Error": {"Code": code, "Message": f"User: {FIRST} is not authorized on {NAME}"}}

    def refuse(*_: object) -> None:
        raise ClientError(said, "GetParameter")

    call = _call()
    monkeypatch.setattr(BaseClient, "_make_api_call", refuse)
    assert_problem(call("GET", "/v1/todos", user="x"), 503)
    assert _line(caplog) == (message, "credentials", code)
    _nothing_shown(caplog)


def test_no_way_to_aws_is_told_in_time(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """An unreachable Parameter Store ends in a 503 as well."""
    _environment(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert_problem(_call()("GET", "/v1/todos", user="x"), 503)
    assert _line(caplog) == ("database unavailable", "credentials", "EndpointConnectionError")


def test_boto3_is_imported_only_for_a_parameter(environment: dict[str, str]) -> None:
    """In a process of its own that a request with the URL in the environment imports nothing of AWS."""
    code = (
        "import sys, json; from handler import handler; event = json.loads(sys.argv[1]); "
        "print(handler(event, None)['statusCode'], [m for m in sys.modules if m.startswith(('boto', 'moto'))])"
    )
    event = http_api_event("GET", "/v1/todos", {"X-User-Id": "x"}, None)
    command = [sys.executable, "-c", code, json.dumps(event)]
    outcome = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert outcome.stdout == "200 []\n", outcome.stderr


def test_the_url_is_shown_nowhere(
    environment: dict[str, str], lambda_api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither password nor host are in the OpenAPI document, an answer, a repr of the app, or a log."""
    url = environment["NEON_DATABASE_URL"]
    app = create_app(Settings(neon_database_url=url))
    parts = parse_dsn(url)
    shown = [json.dumps(app.openapi()), repr(app), repr(vars(app.state)), repr(app.state.settings), log_text(caplog)]
    for path in ("/openapi.json", "/docs", "/health", "/ready", "/v1/todos", "/nowhere"):
        answer = lambda_api("GET", path, user="x")
        shown += [answer.body.decode(), str(answer.headers)]
    for text in shown:
        assert parts["password"] not in text
        assert url not in text
