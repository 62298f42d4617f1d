"""What a request costs in connections, statements and round trips: exact numbers."""

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
    """Sends a request of these tables."""
    return sender(carol)


@pytest.mark.parametrize("request_", ON_THE_DATABASE.values(), ids=ON_THE_DATABASE)
def test_an_operation_is_one_connection_one_statement_one_round_trip(
    send: Send, wire: TrafficCounter, environment: dict[str, str], request_: Request, *, through_pgbouncer: bool
) -> None:
    """The counts on the wire, and that a bare psycopg2 `connect` and `execute` makes as many round trips."""
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
def test_a_request_that_needs_no_database_opens_no_connection(
    send: Send, wire: TrafficCounter, request_: Request
) -> None:
    """Refusals, preflights and /health cost the database nothing."""
    with wire.watch() as traffic:
        send(request_)
    assert (traffic.connections, traffic.statements) == (0, [])


def test_no_connection_is_left_behind(lambda_api: Api, wire: TrafficCounter) -> None:
    """A connection ends with its request."""
    for _ in range(20):
        lambda_api("GET", "/v1/todos", user="anybody")
    deadline = time.monotonic() + 10
    while wire.open and time.monotonic() < deadline:
        time.sleep(0.01)
    assert wire.open == 0


def test_the_first_request_of_a_process_costs_no_more(environment: dict[str, str], wire: TrafficCounter) -> None:
    """A cold start asks the database nothing of its own."""
    with wire.watch() as traffic, app_on(environment["NEON_DATABASE_URL"]) as call:
        assert call("GET", "/v1/todos", user="x").status == 200
    assert (traffic.connections, len(traffic.statements)) == (1, 1)
