"""Concurrent requests of several Lambda environments, each in its own process as on AWS."""

import multiprocessing
from collections.abc import Iterator
from multiprocessing.pool import Pool
from typing import Any

import pytest

from tests.support.clients import Api, through_lambda
from tests.support.users import User

pytestmark = pytest.mark.pooled

PROCESSES = 7
_call: Api
_barrier: Any


def _begin(barrier: Any) -> None:
    global _call, _barrier
    _call, _barrier = Api(through_lambda), barrier
    _call("GET", "/v1/todos", user="first-request")


@pytest.fixture(scope="module")
def processes(lambda_api: Api) -> Iterator[Pool]:
    """Seven warm processes that share a barrier."""
    assert lambda_api  # has set the environment variables
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(PROCESSES, _begin, (spawn.Barrier(PROCESSES),)) as pool:
        yield pool


def _at_once(processes: Pool, function: Any, arguments: list[Any]) -> list[Any]:
    """Run the function in all processes, each with one of the arguments."""
    assert len(arguments) == PROCESSES
    return processes.map(function, arguments, chunksize=1)


def _toggle(request: tuple[bool, str, str, int]) -> list[tuple[int, bool | None]]:
    leader, user, path, rounds = request
    seen = []
    for _ in range(rounds):
        _barrier.wait(60)
        status = _call("POST", f"{path}/toggle", user=user).status
        _barrier.wait(60)
        completed = _call("GET", path, user=user).json()["is_completed"] if leader else None
        seen.append((status, completed))
    return seen


def test_concurrent_toggles_are_not_lost(processes: Pool, carol: User, *, soak: bool) -> None:
    rounds = 2_000 if soak else 50  # a read-modify-write toggle loses an update in two rounds of five
    path = carol.first_path
    results = _at_once(processes, _toggle, [(number == 0, carol.id, path, rounds) for number in range(PROCESSES)])
    assert {status for result in results for status, _ in result} == {200}
    leader = next(result for result in results if result[0][1] is not None)
    assert [completed for _, completed in leader] == [number % 2 == 0 for number in range(rounds)]


_Write = tuple[str, str, dict[str, Any]]  # method, suffix of the path, arguments of `Api`


def _write(request: tuple[str, list[str], _Write]) -> list[int]:
    user, paths, (method, suffix, arguments) = request
    statuses = []
    for path in paths:
        _barrier.wait(60)
        statuses.append(_call(method, f"{path}{suffix}", user=user, **arguments).status)
    return statuses


def test_concurrent_writes_to_a_todo_end_as_if_run_one_after_the_other(processes: Pool, carol: User) -> None:
    paths = [f"/v1/todos/{carol.create(f'todo {number}')['id']}" for number in range(30)]
    delete: _Write = ("DELETE", "", {})
    patch: _Write = ("PATCH", "", {"json": {"description": "x"}})
    put: _Write = ("PUT", "", {"json": {"title": "x"}})
    toggle: _Write = ("POST", "/toggle", {})
    writes = [delete, delete, patch, patch, put, toggle, toggle]
    results = _at_once(processes, _write, [(carol.id, paths, write) for write in writes])
    assert all(sorted(statuses) == [204, 404] for statuses in zip(*results[:2], strict=True))
    assert {status for result in results[2:] for status in result} <= {200, 404}
    assert carol.list() == [carol.todos[1], carol.todos[0]]


def _create(user: str) -> list[int]:
    statuses = []
    for number in range(20):
        _barrier.wait(60)
        statuses.append(_call("POST", "/v1/todos", user=f"{user}-{number}", json={"title": "x"}).status)
    return statuses


def test_the_first_todos_of_a_user_can_be_created_concurrently(processes: Pool, carol: User, sql: Any) -> None:
    results = _at_once(processes, _create, [carol.id] * PROCESSES)
    assert {status for result in results for status in result} == {201}
    counted = "SELECT count(DISTINCT user_id), count(*) FROM todos WHERE user_id LIKE %s"
    assert sql(counted, f"{carol.id}-%") == [(20, 20 * PROCESSES)]
