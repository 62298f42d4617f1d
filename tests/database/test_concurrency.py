"""Concurrent requests of several Lambda environments, each in its own process as on AWS."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.aws import handler_processes
from tests.support.http.users import User

PROCESSES = 7

Sent = tuple[str, str, str, dict[str, Any]]  # user, method, path, arguments of `Api`
Send = Callable[[list[list[Sent]]], list[list[int]]]


def _send(requests: list[Sent]) -> list[int]:
    statuses = []
    for user, method, path, arguments in requests:
        handler_processes.barrier.wait(60)
        statuses.append(handler_processes.call(method, path, user=user, **arguments).status)
    return statuses


@pytest.fixture(scope="module")
def send(environment: dict[str, str]) -> Iterator[Send]:
    """A function that sends the requests of seven lists, each list in a warm process.

    All first ones are sent at once, then all second ones. It returns the statuses, by list.
    """
    with handler_processes.start(PROCESSES, environment["NEON_DATABASE_URL"]) as pool:
        yield lambda requests: pool.map(_send, requests, chunksize=1)


def _paths(user: User, number: int) -> list[str]:
    return [f"/v1/todos/{user.create('x')['id']}" for _ in range(number)]


def test_concurrent_toggles_are_not_lost(send: Send, carol: User, sql: Any, *, soak: bool) -> None:
    """A toggle that reads and then writes would lose updates of half of the todos."""
    paths = _paths(carol, 2_000 if soak else 25)
    toggles: list[Sent] = [(carol.id, "POST", f"{path}/toggle", {}) for path in paths]
    assert send([toggles] * PROCESSES) == [[200] * len(paths)] * PROCESSES
    completed = (
        "SELECT bool_and(is_completed), count(*) FROM todos WHERE user_id = %s AND title = 'x'"
    )
    assert sql(completed, carol.id) == [(PROCESSES % 2 == 1, len(paths))]


def test_concurrent_writes_to_a_todo_end_as_if_run_one_after_the_other(
    send: Send, carol: User
) -> None:
    paths = _paths(carol, 30)
    writes: list[tuple[str, str, dict[str, Any]]] = [
        *[("DELETE", "", {})] * 2,
        *[("PATCH", "", {"json": {"description": "x"}})] * 2,
        ("PUT", "", {"json": {"title": "x"}}),
        *[("POST", "/toggle", {})] * 2,
    ]
    requests = [
        [(carol.id, method, f"{path}{suffix}", arguments) for path in paths]
        for method, suffix, arguments in writes
    ]
    one, other, *results = send(requests)
    assert all(sorted(deletes) == [204, 404] for deletes in zip(one, other, strict=True))
    assert {status for result in results for status in result} <= {200, 404}
    assert carol.list() == [carol.todos[1], carol.todos[0]]


def test_the_first_todos_of_a_user_can_be_created_concurrently(
    send: Send, carol: User, sql: Any
) -> None:
    """Each round creates the first todos of another user."""
    creates: list[Sent] = [
        (f"{carol.id}-{number}", "POST", "/v1/todos", {"json": {"title": "x"}})
        for number in range(20)
    ]
    assert send([creates] * PROCESSES) == [[201] * 20] * PROCESSES
    counted = "SELECT count(DISTINCT user_id), count(*) FROM todos WHERE user_id LIKE %s"
    assert sql(counted, f"{carol.id}-%") == [(20, 20 * PROCESSES)]
