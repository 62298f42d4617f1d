"""The database URL in Parameter Store: cached, read again when the login is refused, and never disclosed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from psycopg2.extensions import parse_dsn

from migrations.__main__ import migrate
from tests.support.assertions import assert_problem, log_text
from tests.support.clients import Api, Context, invoke_app
from tests.support.events import http_api_event
from tests.support.machine import ROOT
from tests.support.sql import run_sql
from todo_api.app import create_app
from todo_api.settings import Settings

NAME = "/todo-api/test/neon-database-url"
FIRST, SECOND = "first-s3cr3t-password", "second-s3cr3t-password"


@pytest.fixture
def ssm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of moto's Parameter Store."""
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
    """The names of the requests that are sent to AWS."""
    from botocore.client import BaseClient

    seen: list[str] = []
    send = BaseClient._make_api_call

    def recorded(self: Any, operation: str, parameters: Any) -> Any:
        seen.append(operation)
        return send(self, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", recorded)
    return seen


@pytest.fixture
def rotate(new_database: Callable[[], str]) -> Iterator[Callable[[str], str]]:
    """A function that sets the password of a login role and returns its URI."""
    uri = new_database()
    migrate(uri)

    def new_password(password: str) -> str:
        create = f"CREATE ROLE rotating LOGIN PASSWORD '{password}'"
        run_sql(uri, "DROP ROLE IF EXISTS rotating", create, "GRANT todo_app TO rotating")
        parts = parse_dsn(uri)
        return f"postgresql+psycopg2://rotating:{password}@{parts['host']}:{parts['port']}/{parts['dbname']}"

    yield new_password
    new_password("no-longer-used")


def _call() -> Api:
    app = create_app(Settings(neon_database_url_parameter=NAME))
    return Api(lambda *request: invoke_app(app, http_api_event(*request), Context()))


def _put(ssm: Any, value: str) -> None:
    ssm.put_parameter(Name=NAME, Value=value, Type="SecureString", Overwrite=True)


def test_the_parameter_is_read_at_the_first_request_and_cached(
    ssm: Any, rotate: Callable[[str], str], reads: list[str]
) -> None:
    _put(ssm, rotate(FIRST))
    reads.clear()
    call = _call()
    assert reads == []
    assert [call("GET", "/v1/todos", user="x").status for _ in range(3)] == [200] * 3
    assert call("GET", "/health").status == 200
    assert reads == ["GetParameter"]


def test_a_refused_password_is_read_again_within_the_request(
    ssm: Any, rotate: Callable[[str], str], reads: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    _put(ssm, rotate(FIRST))
    call = _call()
    assert call("POST", "/v1/todos", user="x", json={"title": "before"}).status == 201
    _put(ssm, rotate(SECOND))
    reads.clear()
    assert call("POST", "/v1/todos", user="x", json={"title": "after"}).status == 201
    assert call("GET", "/v1/todos", user="x").status == 200
    assert reads == ["GetParameter"]
    _assert_no_secret_logged(caplog)


def test_the_parameter_is_read_at_most_once_more_in_each_request(
    ssm: Any, rotate: Callable[[str], str], reads: list[str], caplog: pytest.LogCaptureFixture
) -> None:
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
    _assert_no_secret_logged(caplog)


def _line(caplog: pytest.LogCaptureFixture) -> tuple[str, str, str]:
    (line,) = [record.__dict__ for record in caplog.records if record.getMessage().startswith("database ")]
    return line["message"], line["phase"], line["reason"]


def _assert_no_secret_logged(caplog: pytest.LogCaptureFixture) -> None:
    text = log_text(caplog)
    assert not [secret for secret in (FIRST, SECOND, NAME) if secret in text]


@pytest.mark.usefixtures("ssm")
def test_a_missing_parameter_is_misconfigured(caplog: pytest.LogCaptureFixture) -> None:
    assert_problem(_call()("GET", "/v1/todos", user="x"), 503)
    assert _line(caplog) == ("database misconfigured", "credentials", "ParameterNotFound")


def test_a_parameter_without_a_url_is_misconfigured(ssm: Any, caplog: pytest.LogCaptureFixture) -> None:
    _put(ssm, f"mysql://{FIRST}")
    assert_problem(_call()("GET", "/v1/todos", user="x"), 503)
    reason = "the parameter does not hold a PostgreSQL URL"
    assert _line(caplog) == ("database misconfigured", "credentials", reason)
    _assert_no_secret_logged(caplog)


@pytest.mark.usefixtures("ssm")
@pytest.mark.parametrize(
    ("code", "message"),
    [("AccessDeniedException", "database misconfigured"), ("ThrottlingException", "database unavailable")],
)
def test_an_error_of_parameter_store_is_a_503_with_its_code_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: str, message: str
) -> None:
    from botocore.client import BaseClient
    from botocore.exceptions import ClientError

    details = {"Code": code, "Message": f"User: {FIRST} is not authorized on {NAME}"}
    error: Any = {"Error": details, "ResponseMetadata": {"HTTPStatusCode": 400}}

    def refuse(*_: object) -> None:
        raise ClientError(error, "GetParameter")

    call = _call()
    monkeypatch.setattr(BaseClient, "_make_api_call", refuse)
    assert_problem(call("GET", "/v1/todos", user="x"), 503)
    assert _line(caplog) == (message, "credentials", code)
    _assert_no_secret_logged(caplog)


def test_an_unreachable_parameter_store_is_a_503(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _environment(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert_problem(_call()("GET", "/v1/todos", user="x"), 503)
    assert _line(caplog) == ("database unavailable", "credentials", "EndpointConnectionError")


def test_boto3_is_not_imported_when_the_environment_holds_the_url(environment: dict[str, str]) -> None:
    code = (
        "import sys, json; from handler import handler; event = json.loads(sys.argv[1]); "
        "print(handler(event, None)['statusCode'], [m for m in sys.modules if m.startswith(('boto', 'moto'))])"
    )
    event = http_api_event("GET", "/v1/todos", {"X-User-Id": "x"}, None)
    command = [sys.executable, "-c", code, json.dumps(event)]
    environment = os.environ | environment
    outcome = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert outcome.stdout == "200 []\n", outcome.stderr


def test_the_url_and_password_are_not_in_the_openapi_document_responses_reprs_or_logs(
    environment: dict[str, str], lambda_api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    url = environment["NEON_DATABASE_URL"]
    app = create_app(Settings(neon_database_url=url))
    parts = parse_dsn(url)
    shown = [json.dumps(app.openapi()), repr(app), repr(vars(app.state)), repr(app.state.settings), log_text(caplog)]
    for path in ("/openapi.json", "/docs", "/health", "/ready", "/v1/todos", "/nowhere"):
        response = lambda_api("GET", path, user="x")
        shown += [response.body.decode(), str(response.headers)]
    for text in shown:
        assert parts["password"] not in text
        assert url not in text
