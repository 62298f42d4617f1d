"""HTTP libraries repeat a request by its status and `Retry-After`, whatever its method is."""

from collections.abc import Callable
from functools import partial

import pytest

from tests.support.http.apps import app_on
from tests.support.http.clients import Response
from tests.support.postgres.fault_scenario import FaultScenario

Send = Callable[[], Response]


def feign(send: Send) -> None:
    """Send as Feign does: up to five times while the response has `Retry-After`.

    https://github.com/OpenFeign/feign/blob/master/core/src/main/java/feign/codec/ErrorDecoder.java
    """
    for _ in range(5):
        if "retry-after" not in send().headers:
            return


def apache(send: Send) -> None:
    """Send as Apache's HttpClient does: once more after a 429 or a 503, with or without the header.

    `DefaultHttpRequestRetryStrategy`: https://hc.apache.org/httpcomponents-client-5.5.x/
    """
    if send().status in (429, 503):
        send()


@pytest.mark.parametrize("library", [feign, apache])
@pytest.mark.parametrize(
    ("fault", "sqlstate", "times"),
    [("", "53100", 2), ("reset after the query was sent", "", 1)],
    ids=["refused", "answer lost"],
)
def test_a_write_is_repeated_only_if_it_had_no_effect(
    scenario: FaultScenario, library: Callable[[Send], None], fault: str, sqlstate: str, times: int
) -> None:
    rows = scenario.rows()
    responses: list[Response] = []
    call = app_on(scenario.uri())

    def is_completed() -> bool:
        todo = call("GET", f"/v1/todos/{scenario.todo}", user=scenario.user)
        return bool(todo.json()["is_completed"])

    def send(operation: str) -> Response:
        response = scenario.request(call, operation)
        scenario.proxy.end_fault()
        responses.append(response)
        return response

    was_completed = is_completed()
    for operation in ("create", "toggle"):
        responses.clear()
        scenario.proxy.fault = fault
        scenario.proxy.sqlstate = sqlstate
        library(partial(send, operation))
        assert len(responses) == times
    assert is_completed() is not was_completed
    scenario.assert_recovery()
    assert len(scenario.rows() - rows) == 1
