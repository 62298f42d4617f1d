"""The checker of linearizability accepts a linearizable history, and refuses a wrong one.

A checker that refuses a linearizable one would fail test_linearizability.py only now and then.
"""

from dataclasses import replace
from math import inf

import pytest

from tests.support.postgres.fault_scenario import NOT_EXECUTED, UNKNOWN
from tests.support.postgres.linearizability import Invocation, Operation, Todo, is_linearizable

OLD = '"2026-11-20T09:30:00.000001Z"'
NEW = '"2026-11-20T09:30:00.000002Z"'
SEEN = Todo("a", "x", None, is_completed=False, etag=OLD)
CREATE = Operation(Invocation("create", "key", {"title": "x"}), "201", SEEN, 0, 1)
TOGGLED = replace(SEEN, is_completed=True, etag=NEW)
TOGGLE = Operation(Invocation("toggle", "key", id="a"), "200", TOGGLED, 2, 4)
NO_ANSWER = replace(TOGGLE, outcome=UNKNOWN, seen=None, ended=inf)
DELETE = Operation(Invocation("delete", "key", id="a"), "204", None, 2, 3)
CONDITIONAL = replace(TOGGLE, request=TOGGLE.request._replace(tag=OLD))


def _read(todo: Todo, began: float = 5) -> Operation:
    return Operation(Invocation("retrieve", "key", id="a"), "200", todo, began, began + 1)


LINEARIZABLE = {
    "a read of what was written": [CREATE, TOGGLE, _read(TOGGLED)],
    "a read of the old todo during a write": [CREATE, TOGGLE, _read(SEEN, 3)],
    "a write of unknown outcome that runs": [CREATE, NO_ANSWER, _read(TOGGLED)],
    "a write of unknown outcome that runs later": [
        CREATE,
        NO_ANSWER,
        _read(SEEN),
        _read(TOGGLED, 9),
    ],
    "a write of unknown outcome that never runs": [CREATE, NO_ANSWER, _read(SEEN)],
    "a new todo for the key of a deleted one": [
        CREATE,
        DELETE,
        replace(CREATE, seen=replace(SEEN, id="b"), began=9, ended=10),
    ],
}
NOT_LINEARIZABLE = {
    "a lost write": [CREATE, TOGGLE, _read(SEEN)],
    "a read of a later write": [CREATE, replace(TOGGLE, began=7, ended=8), _read(TOGGLED)],
    "a write that was not executed, but was": [
        CREATE,
        replace(NO_ANSWER, outcome=NOT_EXECUTED),
        _read(TOGGLED),
    ],
    "a write of unknown outcome that runs twice": [
        *(CREATE, NO_ANSWER, _read(TOGGLED)),
        _read(replace(SEEN, etag='"2026-11-20T09:30:00.000003Z"'), 9),
    ],
    "an old read after a new one": [CREATE, NO_ANSWER, _read(TOGGLED), _read(SEEN, 9)],
    "two writers with one tag": [
        CREATE,
        CONDITIONAL,
        replace(CONDITIONAL, seen=replace(SEEN, etag='"3"')),
    ],
    "a refused tag that is the current one": [
        CREATE,
        replace(CONDITIONAL, outcome="412", seen=None),
    ],
    "a todo that comes back": [CREATE, DELETE, _read(SEEN)],
    "a deleted todo for its key": [CREATE, DELETE, replace(CREATE, began=9, ended=10)],
    "two todos for one key": [CREATE, replace(CREATE, seen=replace(SEEN, id="b"))],
    "a new tag that is older": [CREATE, replace(TOGGLE, seen=replace(TOGGLED, etag='"1"'))],
    "an unexpected status": [CREATE, replace(TOGGLE, outcome="500", seen=None)],
}


@pytest.mark.parametrize("history", LINEARIZABLE.values(), ids=LINEARIZABLE)
def test_a_linearizable_history_is_accepted(history: list[Operation]) -> None:
    assert is_linearizable(history)


@pytest.mark.parametrize("history", NOT_LINEARIZABLE.values(), ids=NOT_LINEARIZABLE)
def test_a_wrong_history_is_refused(history: list[Operation]) -> None:
    assert not is_linearizable(history)
