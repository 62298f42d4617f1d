"""Work of several processes on shared todos, which they record, and a proxy with random faults."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from math import inf
from random import Random
from typing import Any

import pytest
from sqlalchemy.dialects import postgresql

from dev.lab.proxy import FaultyProxy
from tests.support.aws import handler_processes
from tests.support.documents.openapi import OPERATIONS
from tests.support.http.clients import Context
from tests.support.postgres.fault_scenario import UNKNOWN
from tests.support.postgres.linearizability import Invocation, Operation, Todo
from todo_api.database import errors
from todo_api.database import todos as repository

PROCESSES = 4
USER = "linearizable"
FAULTS = [
    "silent",
    "frozen before the query",
    "frozen mid-answer",
    "reset before the query",
    "reset after the query was sent",
    "reset mid-answer",
    "delayed until the client has gone",
]
WEIGHTS = {"create": 2, "retrieve": 4, "replace": 3, "update": 5, "toggle": 5, "delete": 1}


class RandomlyFaultyProxy(FaultyProxy):
    """Injects a random fault into a part of the connections, and counts them."""

    def __init__(self, upstream: int, seed: int) -> None:
        self.rate = 0.0
        self.injected: Counter[str] = Counter()
        self._random = Random(seed)  # noqa: S311  # reproducible, not secret
        super().__init__(upstream)

    def next_fault(self) -> str:
        """Return a random fault, or `self.fault`."""
        if self._random.random() >= self.rate:
            return self.fault
        fault = self._random.choice(FAULTS)
        self.injected[fault] += 1
        return fault


# --- in the processes -----------------------------------------------------------------------------


def perform(request: Invocation, process: int) -> Operation:
    """Send one request and record it."""
    kind, key, fields, id_, tag = request
    operation = OPERATIONS[f"{kind}Todo"]
    headers = {"Idempotency-Key": key} if kind == "create" else {}
    if tag:
        headers["If-None-Match" if kind == "retrieve" else "If-Match"] = tag
    path = operation.path.replace("{id}", str(id_))
    body: dict[str, Any] = {"json": fields} if fields else {}
    began = time.monotonic()
    response = handler_processes.call(operation.method, path, user=USER, headers=headers, **body)
    ended = time.monotonic()
    seen = None
    outcome = str(response.status)
    if response.status in (503, 504):
        outcome = response.json()["type"].rpartition(":")[2]
    elif response.status in (200, 201):
        todo = response.json()
        assert response.headers["etag"] == todo["etag"]
        seen = Todo(
            todo["id"], todo["title"], todo["description"], todo["is_completed"], todo["etag"]
        )
        outcome += " replayed" if "idempotency-replayed" in response.headers else ""
    return Operation(request, outcome, seen, began, inf if outcome == UNKNOWN else ended, process)


def work(arguments: tuple[int, str, Sequence[str], int]) -> list[Operation]:
    """Send random requests for the todos of these keys, at the same time as the other processes."""
    process, seed, keys, requests = arguments
    random = Random(f"{seed} {process}")  # noqa: S311  # reproducible, not secret
    known: dict[str, Todo] = {}  # what this process last saw
    history = []
    handler_processes.barrier.wait(60)
    with pytest.MonkeyPatch.context() as patch:
        # 500 of them are for the database.
        patch.setattr(Context, "get_remaining_time_in_millis", lambda _: 1_500)
        for number in range(requests):
            key = random.choice(keys)
            operation = perform(
                _random_request(random, key, known.get(key), f"{process}.{number}"), process
            )
            history.append(operation)
            if operation.seen:
                known[key] = operation.seen
            elif operation.outcome == "404":
                del known[key]
            elif not operation.is_answered:
                time.sleep(0.1)  # a pooler that refuses at once would use up all requests
    return history


def _random_request(random: Random, key: str, todo: Todo | None, text: str) -> Invocation:
    if todo is None:
        return Invocation("create", key, {"title": random.choice(["new", "new", "new", "another"])})
    (kind,) = random.choices(list(WEIGHTS), list(WEIGHTS.values()))
    if kind == "create":
        return Invocation(kind, key, {"title": "new"})
    fields: dict[str, Any] = {}
    if kind == "replace":
        fields = {"title": text, "is_completed": random.choice([True, False])}
    elif kind == "update":
        fields = random.choice(
            [{"title": text}, {"description": text}, {"description": None}, {"is_completed": True}]
        )
    return Invocation(kind, key, fields, todo.id, random.choice([None, todo.etag]))


def read(arguments: tuple[str, set[str]]) -> list[Operation]:
    """Read what has become of a key and of the todos that it made, until there are answers."""
    key, ids = arguments
    history: list[Operation] = []
    for request in [
        Invocation("create", key, {"title": "new"}),
        *(Invocation("retrieve", key, id=id_) for id_ in ids),
    ]:
        deadline = time.monotonic() + 30
        while not history or history[-1].request != request or not history[-1].is_answered:
            assert time.monotonic() < deadline, "the database does not answer"
            history.append(perform(request, PROCESSES))
    return history


def perform_at_once(arguments: tuple[int, Invocation | None, str]) -> list[Operation]:
    """Send a request at the same time as the other processes.

    With a mutation of the code or `""`.
    """
    process, request, mutation = arguments
    with pytest.MonkeyPatch.context() as patch:
        if mutation:
            MUTATIONS[mutation](patch)
        handler_processes.barrier.wait(60)
        return [] if request is None else [perform(request, process)]


# --- mutations ------------------------------------------------------------------------------------


def _not_executed(patch: pytest.MonkeyPatch) -> None:
    original = errors.DatabaseUnavailable
    patch.setattr(
        errors, "DatabaseUnavailable", lambda **fields: original(**fields | {"may_have_run": False})
    )


def _read_modify_write(patch: pytest.MonkeyPatch) -> None:
    def toggle(todos: repository.TodoRepository, todo_id: Any, versions: Any = None) -> Any:
        todo = todos.retrieve(todo_id)
        handler_processes.barrier.wait(60)  # every process has read before one writes
        return todos._change(todo_id, {"is_completed": not todo.is_completed}, versions)

    patch.setattr(repository.TodoRepository, "toggle", toggle)


def _conflict_target_without_key(patch: pytest.MonkeyPatch) -> None:
    original = postgresql.Insert.on_conflict_do_update

    def on_conflict_do_update(insert: postgresql.Insert, **arguments: Any) -> postgresql.Insert:
        return original(insert, **arguments | {"index_elements": ["id"], "index_where": None})

    patch.setattr(postgresql.Insert, "on_conflict_do_update", on_conflict_do_update)


MUTATIONS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "may_have_run is always False": _not_executed,
    "toggle reads, then writes": _read_modify_write,
    "the key is not in the conflict target": _conflict_target_without_key,
}
