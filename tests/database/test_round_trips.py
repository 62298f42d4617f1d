"""The exact numbers of connections, statements and round trips of a request."""

import time

import psycopg2
import pytest

from tests.support.apps import app_on
from tests.support.clients import Api
from tests.support.proxy import TrafficCounter
from tests.support.requests import ON_THE_DATABASE, REFUSED, Request, Send, sender
from tests.support.users import User

pytestmark = pytest.mark.pooled


@pytest.fixture
def send(carol: User) -> Send:
    """Send a request of the tables in `tests.support.requests`."""
    return sender(carol)


@pytest.mark.parametrize("request_", ON_THE_DATABASE.values(), ids=ON_THE_DATABASE)
def test_an_operation_takes_one_connection_and_one_statement(
    send: Send, wire: TrafficCounter, environment: dict[str, str], request_: Request, *, through_pgbouncer: bool
) -> None:
    """It takes as many round trips as psycopg2 alone takes to connect and execute one statement."""
    with wire.watch(delay=0.01) as ours:
        send(request_)
    with wire.watch(delay=0.01) as bare:
        connection = psycopg2.connect(environment["NEON_DATABASE_URL"])
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.close()
    assert (ours.connections, len(ours.statements), ours.round_trips) == (1, 1, bare.round_trips)
    assert ours.round_trips == (6 if through_pgbouncer else 5)


@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED)
def test_a_request_without_database_access_opens_no_connection(
    send: Send, wire: TrafficCounter, request_: Request
) -> None:
    with wire.watch() as traffic:
        send(request_)
    assert (traffic.connections, traffic.statements) == (0, [])


def test_connections_close_after_each_request(lambda_api: Api, wire: TrafficCounter) -> None:
    for _ in range(20):
        lambda_api("GET", "/v1/todos", user="anybody")
    deadline = time.monotonic() + 10
    while wire.open and time.monotonic() < deadline:
        time.sleep(0.01)
    assert wire.open == 0


def test_the_first_request_of_a_process_takes_one_connection_and_one_statement(
    environment: dict[str, str], wire: TrafficCounter
) -> None:
    with wire.watch() as traffic, app_on(environment["NEON_DATABASE_URL"]) as call:
        assert call("GET", "/v1/todos", user="x").status == 200
    assert (traffic.connections, len(traffic.statements)) == (1, 1)
