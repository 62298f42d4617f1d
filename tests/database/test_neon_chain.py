"""Everything of Neon's in front of PostgreSQL: its proxy, and behind it PgBouncer without TLS."""

from collections.abc import Iterator

import pytest
from psycopg2.extensions import parse_dsn

from dev.lab.neon_proxy import NeonProxy, neon_proxy
from dev.lab.pgbouncer import pgbouncer
from dev.lab.sql import run_sql
from tests.support.http.apps import app_on
from tests.support.http.assertions import assert_problem, database_failure
from tests.support.http.requests import ON_THE_DATABASE, Request, sender
from tests.support.http.users import new_user

pytestmark = pytest.mark.pgbouncer


@pytest.fixture(scope="module")
def neon(migrated: str) -> Iterator[NeonProxy]:
    """The stand-in for Neon's proxy, in front of PgBouncer."""
    with pgbouncer(migrated) as pooler, neon_proxy(pooler.uri()) as proxy:
        yield proxy


@pytest.mark.parametrize("request_", ON_THE_DATABASE.values(), ids=ON_THE_DATABASE)
def test_an_operation_takes_six_round_trips(neon: NeonProxy, request_: Request) -> None:
    with app_on(neon.documented_uri()) as call:
        send = sender(new_user("chain", call))
        with neon.counter.watch(delay=0.01) as traffic:
            send(request_)
    tcp = traffic.connections  # its handshake ends in the counter, which does not count it
    assert (traffic.connections, len(traffic.statements), tcp + traffic.round_trips) == (1, 1, 6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [("PASSWORD 'second'", "SASL authentication failed"), ("NOLOGIN", "no such user")],
)
def test_a_login_that_was_changed_behind_the_proxy_is_misconfigured(
    neon: NeonProxy, migrated: str, caplog: pytest.LogCaptureFixture, change: str, reason: str
) -> None:
    """The proxy remembers the first password, and PgBouncer asks the database each time."""
    login = "changed_" + change.partition(" ")[0].lower()
    run_sql(migrated, f"CREATE ROLE {login} LOGIN PASSWORD 'first'", f"GRANT todo_app TO {login}")
    parts = parse_dsn(migrated)
    url = neon.documented_uri().replace(f"{parts['user']}:{parts['password']}@", f"{login}:first@")
    try:
        with app_on(url) as call:
            assert call("GET", "/v1/todos", user="x").status == 200
            run_sql(migrated, f"ALTER ROLE {login} {change}")
            with neon.counter.watch() as traffic:
                assert_problem(call("GET", "/v1/todos", user="x"), 503)
    finally:
        run_sql(migrated, f"DROP ROLE {login}")
    assert (traffic.connections, traffic.statements) == (1, [])
    assert database_failure(caplog) == ("database misconfigured", "connect", f"ERROR:  {reason}")
