"""The deadline of a request, and a long series of requests.

Suspended computes, late poolers and Lambda's timeout.
"""

import logging
import os
import select
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from dev.lab.events import http_api_event
from dev.lab.proxy import FaultyProxy
from dev.ports import free_port
from tests.support.http.apps import app_on
from tests.support.http.assertions import assert_problem
from tests.support.http.clients import Context, invoke_app
from tests.support.postgres.fault_scenario import SUCCEEDED, FaultScenario
from todo_api.app import create_app
from todo_api.settings import Settings


def test_a_request_waits_for_a_suspended_compute(scenario: FaultScenario) -> None:
    call = app_on(scenario.uri())
    scenario.proxy.sleep_seconds = 6
    scenario.assert_outcome(call, "create", SUCCEEDED, at_most=8)
    scenario.assert_recovery(call)


def test_connecting_is_retried_until_the_port_accepts_connections(scenario: FaultScenario) -> None:
    port = free_port()
    timer = threading.Timer(0.5, FaultyProxy, [int(scenario.parts["port"]), port])
    call = app_on(scenario.uri(port=str(port)))
    timer.start()
    scenario.assert_outcome(call, "create", SUCCEEDED, at_most=4)
    timer.join()


def test_the_timeout_is_at_most_the_remaining_time_of_the_invocation(
    scenario: FaultScenario,
) -> None:
    app = create_app(Settings(neon_database_url=scenario.uri()))

    class ShortContext(Context):
        remaining = 1_500

        def get_remaining_time_in_millis(self) -> int:
            return self.remaining

    event = http_api_event("GET", "/v1/todos", {"X-User-Id": "x"}, None)
    scenario.proxy.fault = "silent"
    began = time.monotonic()
    response = invoke_app(app, event, ShortContext())
    assert 0.4 < time.monotonic() - began < ShortContext.remaining / 1000
    assert_problem(response, 503)
    ShortContext.remaining = 500
    assert_problem(invoke_app(app, event, ShortContext()), 503)
    scenario.assert_recovery()


def test_no_wait_is_longer_than_the_time_that_is_left(
    scenario: FaultScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[int] = []

    class Poll:
        def __init__(self) -> None:
            self._poll = select.poll()
            self.register = self._poll.register

        def poll(self, milliseconds: int) -> list[tuple[int, int]]:
            waits.append(milliseconds)
            return self._poll.poll(milliseconds)

    recording = SimpleNamespace(**vars(select) | {"poll": Poll})
    monkeypatch.setattr("todo_api.database.deadline.select", recording)
    scenario.proxy.fault = "silent"
    call = app_on(scenario.uri(), database_timeout_seconds=0.3)
    assert_problem(call("GET", "/v1/todos", user="x"), 503)

    assert 0 < max(waits) <= 300
    scenario.assert_recovery()


@pytest.mark.slow
def test_a_series_of_requests_leaks_neither_connections_nor_memory(
    scenario: FaultScenario, *, soak: bool
) -> None:
    """At most 5 kB for each of 200 requests, after 100 others."""
    last = 100 + (20_000 if soak else 200)
    logging.getLogger("todo_api").setLevel(logging.ERROR)
    call = app_on(scenario.database, log_level="ERROR")
    sizes = []
    for number in range(1, last + 1):
        assert scenario.request(call, ["list", "toggle"][number % 2]).status == 200
        if number in (100, last):
            sizes.append(
                int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            )
    scenario.assert_recovery()
    assert sizes[1] - sizes[0] < 5_000 * 200
