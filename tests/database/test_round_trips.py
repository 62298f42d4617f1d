"""The exact numbers of connections, statements and round trips of a request."""

import psycopg2
import pytest

from dev.lab.proxy import TrafficCounter
from tests.support.http.apps import app_on
from tests.support.http.requests import ON_THE_DATABASE, REFUSED, Request, Send, sender
from tests.support.http.users import User

pytestmark = pytest.mark.pooled


@pytest.fixture
def send(carol: User) -> Send:
    """Send a request of the tables in `tests.support.requests`."""
    return sender(carol)


@pytest.fixture(scope="module")
def round_trips(
    wire: TrafficCounter, environment: dict[str, str], *, through_pgbouncer: bool
) -> int:
    """The number of round trips that psycopg2 alone takes to connect and execute one statement."""
    with wire.watch(delay=0.01) as traffic:
        connection = psycopg2.connect(environment["NEON_DATABASE_URL"])
        connection.autocommit = True
        connection.cursor().execute("SELECT 1")
        connection.close()
    assert traffic.round_trips == (6 if through_pgbouncer else 5)
    return traffic.round_trips


@pytest.mark.parametrize("request_", ON_THE_DATABASE.values(), ids=ON_THE_DATABASE)
def test_an_operation_takes_one_connection_one_statement_and_no_extra_round_trip(
    send: Send, wire: TrafficCounter, round_trips: int, request_: Request
) -> None:
    with wire.watch(delay=0.01) as traffic:
        send(request_)
    assert (traffic.connections, len(traffic.statements), traffic.round_trips) == (
        1,
        1,
        round_trips,
    )


@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED)
def test_a_request_without_database_access_opens_no_connection(
    send: Send, wire: TrafficCounter, request_: Request
) -> None:
    with wire.watch() as traffic:
        send(request_)
    assert (traffic.connections, traffic.statements) == (0, [])


def test_the_first_request_of_a_process_takes_one_connection_and_one_statement(
    environment: dict[str, str], wire: TrafficCounter
) -> None:
    with wire.watch() as traffic, app_on(environment["NEON_DATABASE_URL"]) as call:
        assert call("GET", "/v1/todos", user="x").status == 200
    assert (traffic.connections, len(traffic.statements)) == (1, 1)
