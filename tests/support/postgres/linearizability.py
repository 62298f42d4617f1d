"""Checks histories of concurrent operations for linearizability.

By Wing and Gong's search, with memoised states. A history is linearizable if its operations could
have run one at a time, each between its beginning and its end, with the same results
(https://www.cs.cmu.edu/~wing/publications/WingGong93.pdf). Linearizability is local, so each object
is checked alone. An object is an idempotency key with the todo that it stands for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, NamedTuple

from tests.support.postgres.fault_scenario import NOT_EXECUTED, UNKNOWN

DEFAULTS: dict[str, Any] = {"description": None, "is_completed": False}


@dataclass(frozen=True)
class Todo:
    """A todo as a response shows it.

    In a state, an id or etag that no response has shown yet is None.
    """

    id: str | None
    title: str
    description: str | None
    is_completed: bool
    etag: str | None


class Invocation(NamedTuple):
    """An operation as it was asked for."""

    kind: str
    key: str
    fields: dict[str, Any] = {}  # noqa: RUF012  # never changed
    id: str | None = None
    tag: str | None = None
    """The `If-Match` of a write, or the `If-None-Match` of a retrieve."""


@dataclass(frozen=True)
class Operation:
    """A request and its outcome: a status, `201 replayed`, or `not-executed` or `outcome-unknown`.

    Times are from `time.monotonic()`.
    """

    request: Invocation
    outcome: str
    seen: Todo | None = None
    began: float = 0
    ended: float = inf
    process: int = 0

    @property
    def is_answered(self) -> bool:
        """Whether it certainly took effect before its end."""
        return self.outcome not in (NOT_EXECUTED, UNKNOWN)

    @property
    def may_write(self) -> bool:
        """Whether it may have changed something."""
        return self.request.kind != "retrieve" and self.outcome in ("200", "201", "204", UNKNOWN)


@dataclass(frozen=True)
class State:
    """The state of an object between two operations."""

    todo: Todo | None = None
    created_with: str = ""  # the body that the key belongs to
    # While the etag is None: it is greater than this one, because `updated_at` grows.
    newer_than: str = ""
    deleted: frozenset[str] = frozenset()


def is_linearizable(history: Sequence[Operation], limit: float = inf) -> bool:
    """Search for an order of one object's operations that explains every outcome.

    Args:
        history: the operations, in any order.
        limit: the number of steps after which the search gives up and returns True.
    """
    operations = [
        operation for operation in history if operation.is_answered or operation.may_write
    ]
    answered = sum(
        1 << number for number, operation in enumerate(operations) if operation.is_answered
    )
    # An operation of unknown outcome ends never, so it comes last: most of them need not be tried
    # at all.
    order = sorted(
        range(len(operations)), key=lambda number: operations[number].ended, reverse=True
    )
    stack = [(0, State())]
    visited: set[tuple[int, State]] = set()
    while stack and len(visited) < limit:
        done, state = stack.pop()
        if done & answered == answered:
            return True
        if (done, state) in visited:
            continue
        visited.add((done, state))
        remaining = [number for number in order if not done >> number & 1]
        first_end = operations[remaining[-1]].ended
        for number in remaining:
            if operations[number].began <= first_end:
                after = _step(state, operations[number])
                if after is not None:
                    stack.append((done | 1 << number, after))
    return bool(stack)


def _step(state: State, operation: Operation) -> State | None:
    """Return the state after an operation, or None if it cannot have this outcome in this state."""
    outcome, after = _execute(state, operation)
    if operation.outcome == UNKNOWN:
        return after if after != state else None  # without an effect it need not have run
    if operation.outcome != outcome:
        return None
    if operation.seen is None:
        return after
    assert after.todo
    expected = replace(
        after.todo,
        id=after.todo.id or operation.seen.id,
        etag=after.todo.etag or operation.seen.etag,
    )
    is_new = after.todo.etag or str(operation.seen.etag) > after.newer_than
    if expected != operation.seen or not is_new or expected.id in after.deleted:
        return None
    return replace(after, todo=expected, newer_than="")


def _execute(state: State, operation: Operation) -> tuple[str, State]:
    """Return the outcome that the specification requires, and the state after it.

    An id or etag that no response has shown yet is taken for the one in the request if the outcome
    says so.
    """
    kind, _, fields, id_, tag = operation.request
    todo = state.todo
    if kind == "create":
        if todo is None:
            todo = Todo(id=None, etag=None, **DEFAULTS | fields)
            return "201", State(todo, created_with=repr(fields), deleted=state.deleted)
        return "201 replayed" if state.created_with == repr(fields) else "422", state
    could_be_found = id_ not in state.deleted and operation.outcome != "404"
    if todo is None or not (todo.id == id_ or (todo.id is None and could_be_found)):
        return "404", state
    could_match = operation.outcome == "304" if kind == "retrieve" else operation.outcome != "412"
    is_match = tag is not None and (
        tag == todo.etag or (todo.etag is None and tag > state.newer_than and could_match)
    )
    todo = replace(todo, id=id_, etag=tag if is_match else todo.etag)
    if kind == "retrieve":
        return "304" if is_match else "200", replace(state, todo=todo)
    if tag is not None and not is_match:
        return "412", replace(state, todo=todo)
    if kind == "delete":
        return "204", State(deleted=state.deleted | {str(id_)})
    if kind == "toggle":
        fields = {"is_completed": not todo.is_completed}
    elif kind == "replace":
        fields = DEFAULTS | fields
    return "200", replace(
        state, todo=replace(todo, **fields, etag=None), newer_than=todo.etag or state.newer_than
    )


def shortest(history: Sequence[Operation]) -> list[Operation]:
    """Return few operations of a history that is not linearizable.

    They are not linearizable themselves, whatever the other operations did.
    """
    ends = sorted(operation.ended for operation in history if operation.is_answered)
    beginnings = (_until(end, history) for end in ends)
    operations = next(operations for operations in beginnings if not is_linearizable(operations))
    operations.sort(key=lambda operation: operation.began)
    kept = []
    for number, operation in enumerate(operations):
        operations[number] = _of_unknown_outcome(operation)
        # The reader begins at the new todo.
        if operation.outcome == "201" or is_linearizable(operations, limit=20_000):
            operations[number] = operation
            kept.append(operation)
    return kept


def _until(end: float, history: Sequence[Operation]) -> list[Operation]:
    begun = [operation for operation in history if operation.began <= end]
    return [
        operation if operation.ended <= end else _of_unknown_outcome(operation)
        for operation in begun
    ]


def _of_unknown_outcome(operation: Operation) -> Operation:
    return replace(operation, outcome=UNKNOWN, seen=None, ended=inf)


def describe(operations: Sequence[Operation]) -> str:
    """Format operations for a failure, one a line, with times in milliseconds since the first."""
    lines = []
    for operation in operations:
        began, ended = [
            (time - operations[0].began) * 1000 for time in (operation.began, operation.ended)
        ]
        kind, key, fields, id_, tag = operation.request
        lines.append(
            f"{began:8.1f} to {ended:8.1f}, process {operation.process}: "
            f"{kind} {id_ or key} {fields or ''} "
            f"{f'if {tag}' if tag else ''} -> {operation.outcome} {operation.seen or ''}"
        )
    return "\n".join(lines)
