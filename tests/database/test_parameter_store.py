"""A slow or broken Parameter Store.

A passing failure, within the request's deadline, that discloses nothing.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from moto import mock_aws

from tests.support.http.apps import URL_PARAMETER, app_with
from tests.support.http.assertions import assert_problem, database_failure, log_text

pytestmark = pytest.mark.usefixtures("aws_environment")


@pytest.fixture(autouse=True)
def _patient_client(monkeypatch: pytest.MonkeyPatch) -> None:
    # Long, so that a busy machine does not time out.
    monkeypatch.setattr("todo_api.database.parameter_store.TIMEOUT_SECONDS", 30)


@contextmanager
def _store(status: int, body: bytes, seconds_between_bytes: float = 0) -> Iterator[str]:
    """Run an HTTP server that sends one response to every request; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            for byte in body:
                time.sleep(seconds_between_bytes)
                try:
                    self.wfile.write(bytes([byte]))
                except OSError:  # the client has given up
                    return

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b"{}", "KeyError"),
        (200, b"<html>", "KeyError"),
        (200, b"\xff", "UnicodeDecodeError"),
        (500, b"<html>busy</html>", "500"),
        (503, b'{"__type": "NewKindOfError"}', "NewKindOfError"),
    ],
)
def test_an_answer_that_is_not_of_parameter_store_is_a_passing_failure(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    status: int,
    body: bytes,
    reason: str,
) -> None:
    with _store(status, body) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        call = app_with(neon_database_url_parameter=URL_PARAMETER, database_timeout_seconds=25)
        problem = assert_problem(call("GET", "/v1/todos", user="x"), 503)
    assert problem["type"].endswith(":not-executed")
    assert database_failure(caplog) == ("database unavailable", "credentials", reason)


def test_a_slow_parameter_store_is_waited_for_no_longer_than_the_database(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each byte arrives within boto3's own timeout, but the whole response would take 10 s."""
    with _store(200, b"." * 50, seconds_between_bytes=0.2) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        call = app_with(neon_database_url_parameter=URL_PARAMETER, database_timeout_seconds=0.5)
        waits: list[float] = []
        result = Future.result

        def recorded(future: Future[str], timeout: float) -> str:
            waits.append(timeout)
            return result(future, timeout)

        monkeypatch.setattr(Future, "result", recorded)
        assert_problem(call("GET", "/v1/todos", user="x"), 503)
    (wait,) = waits
    assert 0 < wait <= 0.5
    assert database_failure(caplog) == ("database unavailable", "credentials", "timed out")


@mock_aws
def test_debug_logging_does_not_show_the_parameter(
    new_migrated: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    """`AWS_LAMBDA_LOG_LEVEL=DEBUG` sets the level of the root logger."""
    uri = new_migrated()
    boto3.client("ssm").put_parameter(Name=URL_PARAMETER, Value=uri, Type="SecureString")
    call = app_with(neon_database_url_parameter=URL_PARAMETER)
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        assert call("GET", "/v1/todos", user="x").status == 200
    assert uri not in log_text(caplog)
