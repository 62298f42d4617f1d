"""Many Lambda environments at once: each is a process of its own, as on AWS."""

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
    """Seven warm processes that can start at the same moment."""
    assert lambda_api  # the environment is set
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(PROCESSES, _begin, (spawn.Barrier(PROCESSES),)) as pool:
        yield pool


def _at_once(processes: Pool, function: Any, arguments: list[Any]) -> list[Any]:
    """Run the function in each process, one argument each."""
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


def test_concurrent_toggles_all_count(processes: Pool, carol: User, *, soak: bool) -> None:
    """Of 7 toggles at the same moment none is lost, in each of 50 rounds."""
    rounds = 2_000 if soak else 50  # a read-modify-write toggle loses an update in two rounds of five
    path = f"/v1/todos/{carol.todos[0]['id']}"
    results = _at_once(processes, _toggle, [(number == 0, carol.id, path, rounds) for number in range(PROCESSES)])
    assert {status for result in results for status, _ in result} == {200}
    leader = next(result for result in results if result[0][1] is not None)
    assert [completed for _, completed in leader] == [number % 2 == 0 for number in range(rounds)]


def _collide(request: tuple[str, str, dict[str, Any], str]) -> list[int]:
    method, suffix, arguments, user = request
    statuses = []
    for path in arguments["paths"]:
        _barrier.wait(60)
        body = {"json": arguments["json"]} if "json" in arguments else {}
        statuses.append(_call(method, f"{path}{suffix}", user=user, **body).status)
    return statuses


def test_delete_update_and_toggle_may_meet(processes: Pool, carol: User) -> None:
    """Colliding writes end as if one came after the other: 200, 204 or 404, exactly one delete, no todo."""
    paths = [f"/v1/todos/{carol.create(f'todo {number}')['id']}" for number in range(30)]
    patch, put = {"paths": paths, "json": {"description": "x"}}, {"paths": paths, "json": {"title": "x"}}
    requests = [
        ("DELETE", "", {"paths": paths}, carol.id),
        ("DELETE", "", {"paths": paths}, carol.id),
        ("PATCH", "", patch, carol.id),
        ("PATCH", "", patch, carol.id),
        ("PUT", "", put, carol.id),
        ("POST", "/toggle", {"paths": paths}, carol.id),
        ("POST", "/toggle", {"paths": paths}, carol.id),
    ]
    results = _at_once(processes, _collide, requests)
    assert all(sorted(statuses) == [204, 404] for statuses in zip(*results[:2], strict=True))
    assert {status for result in results[2:] for status in result} <= {200, 404}
    assert carol.list() == [carol.todos[1], carol.todos[0]]


def _create(user: str) -> list[int]:
    statuses = []
    for number in range(20):
        _barrier.wait(60)
        statuses.append(_call("POST", "/v1/todos", user=f"{user}-{number}", json={"title": "x"}).status)
    return statuses


def test_the_first_todos_of_a_user_may_come_at_once(processes: Pool, carol: User, sql: Any) -> None:
    """Recording a new user does not collide with itself."""
    results = _at_once(processes, _create, [carol.id] * PROCESSES)
    assert {status for result in results for status in result} == {201}
    counted = "SELECT count(DISTINCT user_id), count(*) FROM todos WHERE user_id LIKE %s"
    assert sql(counted, f"{carol.id}-%") == [(20, 20 * PROCESSES)]
