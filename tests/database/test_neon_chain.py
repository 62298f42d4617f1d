"""Everything of Neon's in front of PostgreSQL: its proxy, and behind it PgBouncer without TLS."""

from collections.abc import Iterator

import pytest
from psycopg2.extensions import parse_dsn

from dev.lab.neon_proxy import NeonProxy, neon_proxy
from dev.lab.pgbouncer import pgbouncer
from dev.lab.sql import run_sql
from tests.support.documents.operations import Operation
from tests.support.documents.traffic import each_operation_on_the_database, traffic_of
from tests.support.http.apps import app_on
from tests.support.http.assertions import assert_problem, database_failure

pytestmark = pytest.mark.pgbouncer


@pytest.fixture(scope="module")
def neon_chain(migrated: str) -> Iterator[NeonProxy]:
    """The stand-in for Neon's proxy, in front of PgBouncer."""
    with pgbouncer(migrated) as pooler, neon_proxy(pooler.uri()) as proxy:
        yield proxy


@each_operation_on_the_database
def test_a_request_takes_six_round_trips(neon_chain: NeonProxy, operation: Operation) -> None:
    call = app_on(neon_chain.documented_uri())
    counted = traffic_of(operation, call, neon_chain.counter)
    # Five, and the handshake of TCP: it ends in the counter, which does not count it.
    assert counted == dict.fromkeys(counted, (1, 1, 5))


@pytest.mark.parametrize(
    ("change", "reason"),
    [("PASSWORD 'second'", "SASL authentication failed"), ("NOLOGIN", "no such user")],
)
def test_a_login_that_was_changed_behind_the_proxy_is_misconfigured(
    neon_chain: NeonProxy, migrated: str, caplog: pytest.LogCaptureFixture, change: str, reason: str
) -> None:
    """The proxy remembers the first password, and PgBouncer asks the database each time."""
    login = "changed_" + change.partition(" ")[0].lower()
    run_sql(migrated, f"CREATE ROLE {login} LOGIN PASSWORD 'first'", f"GRANT todo_app TO {login}")
    parts = parse_dsn(migrated)
    url = neon_chain.documented_uri().replace(
        f"{parts['user']}:{parts['password']}@", f"{login}:first@"
    )
    try:
        call = app_on(url)
        assert call("GET", "/v1/todos", user="x").status == 200
        run_sql(migrated, f"ALTER ROLE {login} {change}")
        with neon_chain.counter.watch() as traffic:
            assert_problem(call("GET", "/v1/todos", user="x"), 503)
    finally:
        run_sql(migrated, f"DROP ROLE {login}")
    assert (traffic.connections, traffic.statements) == (1, [])
    assert database_failure(caplog) == ("database misconfigured", "connect", f"ERROR:  {reason}")
