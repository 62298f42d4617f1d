"""What Neon's proxy refuses with: which of it is retried, and what the log says.

The proxy refuses inside TLS, before SCRAM, in it, or together with AuthenticationOk.
"""

from collections.abc import Iterator
from typing import Literal

import pytest
from psycopg2.extensions import parse_dsn

from dev.lab.neon_proxy import NeonProxy, Refusal
from tests.support.http.apps import app_on
from tests.support.http.assertions import assert_problem, database_failure, log_text

Stage = Literal["before SCRAM", "in SCRAM", "after AuthenticationOk"]

# The texts are in https://github.com/neondatabase/neon/tree/main/proxy/src, but for those of its
# control plane, whose source is not public: they are from public logs.
USELESS: dict[str, Stage] = {
    "This IP address 203.0.113.7 is not allowed to connect to this endpoint. Please add it to the "
    "allowed list in the Neon console. Make sure to check for IPv4 or IPv6 addresses.": (
        "before SCRAM"
    ),
    "This connection is trying to access this endpoint from a blocked network.": "before SCRAM",
    # Of an unknown user, and of an unknown endpoint too.
    "password authentication failed for user 'postgres'": "in SCRAM",
    "Control plane request failed: endpoint cannot be found": "after AuthenticationOk",
    "The requested endpoint could not be found, or you don't have access to it. "
    "Please check the provided ID and try again.": "after AuthenticationOk",
    "Control plane request failed: endpoint is disabled": "after AuthenticationOk",
    "The endpoint has been disabled. Enable it using Neon API and retry.": "after AuthenticationOk",
    "Control plane request failed: endpoint is temporarily unavailable. "
    "Check your quotas and/or contact our support.": "after AuthenticationOk",
    "Your account or project has exceeded the compute time quota. "
    "Upgrade your plan to increase limits.": "after AuthenticationOk",
    'database "other" does not exist': "after AuthenticationOk",
    'server login has been failing, cached error: database "other" does not exist '
    "(server_login_retry)": "after AuthenticationOk",
    # PgBouncer's, with a sentence of the proxy.
    "unsupported startup parameter in options: search_path. Please use unpooled connection or "
    "remove this parameter from the startup package. More details: "
    "https://neon.tech/docs/connect/connection-errors#unsupported-startup-parameter": (
        "after AuthenticationOk"
    ),
    "SASL authentication failed": "after AuthenticationOk",  # PgBouncer's, of an old password
    "no such user": "after AuthenticationOk",  # PgBouncer's, of a role that may not log in
}
# PgBouncer cuts its messages after 127 bytes.
CUT = (
    "server login has been failing, cached error: connection to server at 'localhost' failed: "
    "FATAL:  the database system is shutting down (server_login_retry)"
)[:127]
PASSING: dict[str, Stage] = {
    "Too many connections to this endpoint. Please try again later.": "before SCRAM",
    "Too many connections attempts": "before SCRAM",
    "Authentication timed out": "in SCRAM",
    "Failed to acquire permit to connect to the database. "
    "Too many database connection attempts are currently ongoing.": "after AuthenticationOk",
    "Control plane request failed": "after AuthenticationOk",
    "Couldn't connect to compute node": "after AuthenticationOk",
    CUT: "after AuthenticationOk",
}


@pytest.fixture
def refusing(neon: NeonProxy) -> Iterator[NeonProxy]:
    """The stand-in, which refuses nobody after the test."""
    yield neon
    neon.refusal = None


@pytest.mark.parametrize(("message", "stage"), USELESS.items())
def test_what_stays_until_somebody_acts_is_not_tried_again(
    refusing: NeonProxy, caplog: pytest.LogCaptureFixture, message: str, stage: Stage
) -> None:
    refusing.refusal = Refusal(message, stage)
    url = refusing.documented_uri()
    call = app_on(url)
    with refusing.counter.watch() as traffic:
        problem = assert_problem(call("GET", "/v1/todos", user="x"), 503)
    assert problem["type"] == "urn:todo-api:problem:database-unavailable:not-executed"
    assert (traffic.connections, traffic.statements) == (1, [])
    assert database_failure(caplog) == ("database misconfigured", "connect", f"ERROR:  {message}")
    assert parse_dsn(url)["password"] not in log_text(caplog)


@pytest.mark.parametrize(("message", "stage"), PASSING.items())
def test_what_passes_is_tried_again(refusing: NeonProxy, message: str, stage: Stage) -> None:
    refusing.refusal = Refusal(message, stage, times=1)
    call = app_on(refusing.documented_uri())
    with refusing.counter.watch() as traffic:
        assert call("GET", "/v1/todos", user="x").status == 200
    assert (traffic.connections, len(traffic.statements)) == (2, 1)


@pytest.mark.parametrize(
    "message", ["Too many connections attempts", "Authentication timed out", CUT]
)
def test_what_does_not_pass_in_time_is_unavailable(
    refusing: NeonProxy, caplog: pytest.LogCaptureFixture, message: str
) -> None:
    refusing.refusal = Refusal(message, PASSING[message])
    call = app_on(refusing.documented_uri(), database_timeout_seconds=2)
    with refusing.counter.watch() as traffic:
        problem = assert_problem(call("GET", "/v1/todos", user="x"), 503)
    assert problem["type"] == "urn:todo-api:problem:database-unavailable:not-executed"
    assert traffic.statements == []
    assert database_failure(caplog) == ("database unavailable", "connect", f"ERROR:  {message}")
