"""The database URL in Parameter Store.

It is cached, read again when the login is refused, and never disclosed.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock, patch

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from moto import mock_aws
from psycopg2.extensions import parse_dsn

from dev.lab.sql import run_sql
from tests.support.http.apps import URL_PARAMETER, app_with
from tests.support.http.assertions import assert_problem, database_failure, log_text
from tests.support.http.clients import Api
from todo_api.app import create_app
from todo_api.settings import Settings

pytestmark = pytest.mark.usefixtures("aws_environment")

FIRST = "first-s3cr3t-password"
SECOND = "second-s3cr3t-password"

Store = Callable[[str], None]
Rotate = Callable[[str], str]


@pytest.fixture
def store() -> Iterator[Store]:
    """A function that stores the value of the parameter in moto's Parameter Store."""
    with mock_aws():
        client = boto3.client("ssm")
        yield lambda value: client.put_parameter(
            Name=URL_PARAMETER, Value=value, Type="SecureString", Overwrite=True
        )


@pytest.fixture
def requests() -> Iterator[Mock]:
    """The requests that are sent to AWS, as calls of a mock."""
    send = BaseClient._make_api_call
    with patch.object(BaseClient, "_make_api_call", autospec=True, side_effect=send) as requests:
        yield requests


def _sent(requests: Mock) -> list[str]:
    return [call.args[1] for call in requests.mock_calls]


@pytest.fixture
def rotate(migrated: str) -> Iterator[Rotate]:
    """A function that sets the password of a login role and returns its URI."""
    parts = parse_dsn(migrated)

    def new_password(password: str) -> str:
        create = f"CREATE ROLE rotating LOGIN PASSWORD '{password}'"
        run_sql(migrated, "DROP ROLE IF EXISTS rotating", create, "GRANT todo_app TO rotating")
        return f"postgresql+psycopg2://rotating:{password}@{parts['host']}:{parts['port']}/{parts['dbname']}"

    yield new_password
    run_sql(migrated, "DROP ROLE rotating")


@pytest.fixture
def call() -> Api:
    """The API with the name of the parameter, as first started."""
    return app_with(neon_database_url_parameter=URL_PARAMETER)


def test_the_parameter_is_read_at_the_first_request_and_cached(
    store: Store, rotate: Rotate, requests: Mock, call: Api
) -> None:
    assert _sent(requests) == []
    store(rotate(FIRST))
    requests.reset_mock()
    assert [call("GET", "/v1/todos", user="x").status for _ in range(3)] == [200] * 3
    assert call("GET", "/health").status == 200
    assert _sent(requests) == ["GetParameter"]


def test_a_refused_password_is_read_again_within_the_request(
    store: Store, rotate: Rotate, requests: Mock, call: Api, caplog: pytest.LogCaptureFixture
) -> None:
    store(rotate(FIRST))
    assert call("POST", "/v1/todos", user="x", json={"title": "before"}).status == 201
    store(rotate(SECOND))
    requests.reset_mock()
    assert call("POST", "/v1/todos", user="x", json={"title": "after"}).status == 201
    assert call("GET", "/v1/todos", user="x").status == 200
    assert _sent(requests) == ["GetParameter"]
    _assert_no_secret_logged(caplog)


def test_the_parameter_is_read_at_most_once_more_in_each_request(
    store: Store, rotate: Rotate, requests: Mock, call: Api, caplog: pytest.LogCaptureFixture
) -> None:
    store(rotate(FIRST).replace(FIRST, SECOND))
    requests.reset_mock()
    problem = assert_problem(call("GET", "/v1/todos", user="x"), 503)
    assert problem["type"].endswith(":not-executed")
    assert _sent(requests) == ["GetParameter"] * 2
    message, phase, reason = database_failure(caplog)
    assert (message, phase) == ("database misconfigured", "connect")
    assert "password authentication failed" in reason
    store(rotate(SECOND))
    assert call("GET", "/v1/todos", user="x").status == 200
    _assert_no_secret_logged(caplog)


def _assert_no_secret_logged(caplog: pytest.LogCaptureFixture) -> None:
    text = log_text(caplog)
    assert not [secret for secret in (FIRST, SECOND, URL_PARAMETER) if secret in text]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "ParameterNotFound"),
        (
            f"mysql://{FIRST}",
            "the parameter's value must start with postgresql://, postgres:// or "
            "postgresql+psycopg2://",
        ),
    ],
)
def test_a_missing_parameter_or_one_without_a_url_is_misconfigured(
    store: Store, call: Api, caplog: pytest.LogCaptureFixture, value: str, reason: str
) -> None:
    if value:  # Parameter Store refuses an empty one
        store(value)
    assert_problem(call("GET", "/v1/todos", user="x"), 503)
    assert database_failure(caplog) == ("database misconfigured", "credentials", reason)
    _assert_no_secret_logged(caplog)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("AccessDeniedException", "database misconfigured"),
        ("ThrottlingException", "database unavailable"),
    ],
)
def test_an_error_of_parameter_store_is_a_503_with_its_code_in_the_log(
    call: Api, requests: Mock, caplog: pytest.LogCaptureFixture, code: str, message: str
) -> None:
    details = {"Code": code, "Message": f"User: {FIRST} is not authorized on {URL_PARAMETER}"}
    error: Any = {"Error": details, "ResponseMetadata": {"HTTPStatusCode": 400}}
    requests.side_effect = ClientError(error, "GetParameter")
    assert_problem(call("GET", "/v1/todos", user="x"), 503)
    assert database_failure(caplog) == (message, "credentials", code)
    _assert_no_secret_logged(caplog)


def test_an_unreachable_parameter_store_is_a_503(
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    call: Api = request.getfixturevalue("call")  # created with this endpoint
    assert_problem(call("GET", "/v1/todos", user="x"), 503)
    assert database_failure(caplog) == (
        "database unavailable",
        "credentials",
        "EndpointConnectionError",
    )


def test_the_url_and_password_are_not_in_the_openapi_document_responses_reprs_or_logs(
    environment: dict[str, str], lambda_api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    url = environment["NEON_DATABASE_URL"]
    app = create_app(Settings(neon_database_url=url))
    parts = parse_dsn(url)
    shown = [
        json.dumps(app.openapi()),
        repr(app),
        repr(vars(app.state)),
        repr(app.state.settings),
        log_text(caplog),
    ]
    for path in ("/openapi.json", "/docs", "/health", "/ready", "/v1/todos", "/nowhere"):
        response = lambda_api("GET", path, user="x")
        shown += [response.body.decode(), str(response.headers)]
    for text in shown:
        assert parts["password"] not in text
        assert url not in text
