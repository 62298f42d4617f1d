"""What the requests of an operation send to the database."""

from typing import NamedTuple

import pytest

from dev.lab.proxy import TrafficCounter
from tests.support.documents.openapi import OPERATIONS
from tests.support.documents.operations import Operation
from tests.support.documents.statuses import BEFORE_THE_DATABASE, request_that_causes
from tests.support.documents.walk import Caller
from tests.support.http.clients import Api

each_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)

_ON_THE_DATABASE = {
    name: operation for name, operation in OPERATIONS.items() if operation.uses_the_database
}
each_operation_on_the_database = pytest.mark.parametrize(
    "operation", _ON_THE_DATABASE.values(), ids=_ON_THE_DATABASE
)


class Counted(NamedTuple):
    """What one request sent to the database."""

    connections: int
    statements: int
    round_trips: int


def traffic_of(
    operation: Operation, api: Api, counter: TrafficCounter, delay: float = 0.01
) -> dict[str, Counted]:
    """Send every request of an operation, and return what each sends to the database.

    The user is new: the first request of a create makes the user too.
    """
    caller = Caller(api, api.user_id("counted"), list(OPERATIONS.values()))
    counted = {}
    for request in caller.requests(operation):
        with counter.watch(delay=delay) as traffic:
            response = caller.send(request)
        assert request.is_answered_by(response), (request.name, response)
        counted[request.name] = Counted(
            traffic.connections, len(traffic.statements), traffic.round_trips
        )
    return counted


def traffic_of_refused(
    operation: Operation, api: Api, counter: TrafficCounter
) -> dict[int, Counted]:
    """Send the requests of an operation that are refused before the database, by status."""
    counted = {}
    for status in BEFORE_THE_DATABASE:
        if str(status) not in operation.description["responses"]:
            continue
        request = request_that_causes(status, api, operation.name)
        with counter.watch() as traffic:
            response = api(**request)
        assert response.status == status, (operation.name, response)
        counted[status] = Counted(traffic.connections, len(traffic.statements), traffic.round_trips)
    return counted
