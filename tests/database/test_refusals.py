"""What PostgreSQL, a pooler or libpq says when it refuses: who has to act, and what it means."""

import pytest
from psycopg2.extensions import parse_dsn

from tests.support.http.apps import app_on
from tests.support.http.assertions import CANARY, assert_problem, database_failure, log_text
from tests.support.postgres.fault_scenario import NOT_EXECUTED, UNKNOWN, FaultScenario
from tests.support.postgres.refusing_server import refusing_server

# --- libpq ----------------------------------------------------------------------------------------

MISSPELT = {
    f"sslmode={CANARY}": "invalid sslmode value",
    f"channel_binding={CANARY}": "invalid channel_binding value",
    f"sslnegotiation={CANARY}": "invalid sslnegotiation value",
    f"target_session_attrs={CANARY}": "invalid target_session_attrs value",
    f"gssencmode={CANARY}": "invalid gssencmode value",
    f"require_auth={CANARY}": "invalid require_auth value",
    f"require_auth=md5,!{CANARY}": "negative require_auth method cannot be mixed",
    f"ssl_min_protocol_version={CANARY}": 'invalid "ssl_min_protocol_version" value',
    f"sslcertmode={CANARY}": "invalid sslcertmode value",
    f"keepalives={CANARY}": 'invalid integer value for connection option "keepalives"',
    "port=99999": "invalid port number",
    f"service={CANARY}": "definition of service not found",
    "sslmode=disable&sslnegotiation=direct": "weak sslmode may not be used with sslnegotiation",
    f"replication={CANARY}": 'FATAL:  invalid value for parameter "replication"',
    "sslmode=require": "server does not support SSL, but SSL was required",
    "channel_binding=require": "channel binding required, but SSL not in use",
    "require_auth=md5": 'authentication method requirement "md5" failed',
}
"""By parameters of the URL: what the log says."""


@pytest.mark.parametrize("parameters", MISSPELT)
def test_a_wrong_value_in_the_url_is_refused_once_and_the_log_names_the_option_without_it(
    migrated: str, caplog: pytest.LogCaptureFixture, parameters: str
) -> None:
    call = app_on(f"{migrated}?{parameters}")
    problem = assert_problem(call("GET", "/v1/todos", user="x"), 503)

    assert problem["type"].endswith(NOT_EXECUTED)
    message, phase, reason = database_failure(caplog)
    assert (message, phase) == ("database misconfigured", "connect")
    assert MISSPELT[parameters] in reason
    assert _attempts(caplog) == 1
    assert CANARY not in log_text(caplog)


def test_a_url_without_a_password_is_a_mistake(
    migrated: str, caplog: pytest.LogCaptureFixture
) -> None:
    password = parse_dsn(migrated)["password"]
    call = app_on(migrated.replace(f":{password}@", "@"))
    assert_problem(call("GET", "/v1/todos", user="x"), 503)

    reason = "fe_sendauth: no password supplied"
    assert database_failure(caplog) == ("database misconfigured", "connect", reason)
    assert _attempts(caplog) == 1


def test_the_name_of_the_host_decides_nothing(caplog: pytest.LogCaptureFixture) -> None:
    # A name with a space fails without a DNS query, which would take its own time.
    uri = "postgresql://a:b@certificate%20quota.example/c"
    call = app_on(uri, database_timeout_seconds=2)
    assert_problem(call("GET", "/v1/todos", user="x"), 503)

    message, _, reason = database_failure(caplog)
    assert message == "database unavailable"
    assert reason.startswith('could not translate host name "certificate quota.example"')
    assert _attempts(caplog) > 1


def _attempts(caplog: pytest.LogCaptureFixture) -> int:
    (line,) = [vars(line) for line in caplog.records if line.getMessage() == "request"]
    attempts: int = line["attempts"]
    return attempts


# --- a server's texts -----------------------------------------------------------------------------


def test_an_unknown_refusal_is_tried_three_times_and_is_not_called_a_mistake(
    caplog: pytest.LogCaptureFixture,
) -> None:
    message = "The moon is in the wrong phase."
    with refusing_server(message) as server:
        call = app_on(server.uri)
        response = call("GET", "/v1/todos", user="x")

    assert_problem(response, 503)
    assert response.headers["retry-after"] == "1"
    assert database_failure(caplog) == ("database unavailable", "connect", f"FATAL:  {message}")
    assert server.connections == 3


# --- in a statement -------------------------------------------------------------------------------

FATAL = {
    # PgBouncer, cut at 127 bytes.
    "server login has been failing, cached error: connect failed": NOT_EXECUTED,
    "server login has been failing, try again later (server_login_retry)": NOT_EXECUTED,
    "query_wait_timeout": NOT_EXECUTED,
    # PostgreSQL, to the login of a pooler.
    "remaining connection slots are reserved for roles with the SUPERUSER attribute": NOT_EXECUTED,
    'too many connections for role "todo"': NOT_EXECUTED,
    'too many connections for database "todo"': NOT_EXECUTED,
    "sorry, too many clients already": NOT_EXECUTED,
    "the database system is starting up": NOT_EXECUTED,
    "the database system is not yet accepting connections": NOT_EXECUTED,
    'password authentication failed for user "todo"': NOT_EXECUTED,
    'database "todo" does not exist': NOT_EXECUTED,
    # They may come after a commit.
    "terminating connection due to administrator command": UNKNOWN,
    "terminating connection because of crash of another server process": UNKNOWN,
    "server conn crashed?": UNKNOWN,
}
"""By text with which the connection ends in a statement: the outcome."""


@pytest.mark.parametrize("message", FATAL)
def test_the_text_that_ends_a_connection_decides_whether_the_statement_may_have_run(
    scenario: FaultScenario, message: str
) -> None:
    call = app_on(scenario.uri())
    scenario.proxy.fatal = message
    line = scenario.assert_outcome(call, "create", FATAL[message])
    assert line["phase"] == "execute"
    assert message in line["reason"]
    scenario.assert_recovery(call)


def test_an_answer_that_libpq_does_not_understand_is_of_unknown_outcome(
    scenario: FaultScenario,
) -> None:
    call = app_on(scenario.uri())
    scenario.proxy.fault = "nonsense instead of an answer"
    line = scenario.assert_outcome(call, "create", UNKNOWN)
    assert line["message"] == "database unavailable"
    scenario.assert_recovery(call)
