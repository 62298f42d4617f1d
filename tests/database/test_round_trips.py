"""The exact numbers of connections, statements and round trips of a request."""

from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from dev.lab.proxy import TrafficCounter
from tests.support.documents.operations import Operation
from tests.support.documents.traffic import (
    each_operation,
    each_operation_on_the_database,
    traffic_of,
    traffic_of_refused,
)
from tests.support.http.apps import app_on
from tests.support.http.clients import Api

pytestmark = pytest.mark.pooled

TODO = f"/v1/todos/{uuid4()}"
PREFLIGHT = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}

WITHOUT_DATABASE: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "path": ("GET", "/v2/todos", {}, 404),
    "method": ("DELETE", "/v1/todos", {}, 405),
    "field": ("PATCH", TODO, {"json": {"title": ""}}, 422),
    "key": (
        "POST",
        "/v1/todos",
        {"json": {"title": "x"}, "headers": {"Idempotency-Key": "a b"}},
        422,
    ),
    "parameter": ("GET", "/v1/todos?limit=0", {}, 422),
    "cursor": ("GET", "/v1/todos?cursor=x", {}, 422),
    "unknown parameter": ("GET", "/v1/todos?x=1", {}, 422),
    "preflight": ("OPTIONS", "/v1/todos", {"headers": PREFLIGHT}, 200),
    "health": ("GET", "/health", {}, 200),
}
"""Requests that no operation answers, or with a value that is refused, and checkHealth.

Method, path and arguments of `Api`, and the status.
"""


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


@each_operation_on_the_database
def test_a_request_takes_one_connection_one_statement_and_no_extra_round_trip(
    lambda_api: Api, wire: TrafficCounter, round_trips: int, operation: Operation
) -> None:
    counted = traffic_of(operation, lambda_api, wire)
    assert counted == dict.fromkeys(counted, (1, 1, round_trips))


@each_operation
def test_a_request_that_is_refused_before_the_database_opens_no_connection(
    lambda_api: Api, wire: TrafficCounter, operation: Operation
) -> None:
    counted = traffic_of_refused(operation, lambda_api, wire)
    assert counted == dict.fromkeys(counted, (0, 0, 0))


@pytest.mark.parametrize(
    ("method", "path", "arguments", "status"), WITHOUT_DATABASE.values(), ids=WITHOUT_DATABASE
)
def test_a_request_without_database_access_opens_no_connection(
    lambda_api: Api,
    wire: TrafficCounter,
    method: str,
    path: str,
    arguments: dict[str, Any],
    status: int,
) -> None:
    request = {"user": "anybody", **arguments}
    with wire.watch() as traffic:
        response = lambda_api(method, path, **request)
    assert response.status == status
    assert (traffic.connections, traffic.statements) == (0, [])


def test_the_first_request_of_a_process_takes_one_connection_and_one_statement(
    environment: dict[str, str], wire: TrafficCounter
) -> None:
    call = app_on(environment["NEON_DATABASE_URL"])
    with wire.watch() as traffic:
        assert call("GET", "/v1/todos", user="x").status == 200
    assert (traffic.connections, len(traffic.statements)) == (1, 1)
