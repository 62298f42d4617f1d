"""Nobody reads or changes another user's todo, or learns that it exists."""

import inspect
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlglot
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlglot import exp

from tests.support.clients import Api
from tests.support.mutations import FILTER_LINES, SOURCE, without_filters
from tests.support.proxy import TrafficCounter
from tests.support.users import User, new_user
from todo_api.database import repository
from todo_api.database.engine import Database
from todo_api.models.page import TodoQuery
from todo_api.models.todo import TodoCreate, TodoUpdate

pytestmark = pytest.mark.pooled

ON_ONE_TODO: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "", {}),
    ("PUT", "", {"json": {"title": "taken over"}}),
    ("PATCH", "", {"json": {"title": "taken over"}}),
    ("PATCH", "", {"json": {}}),
    ("DELETE", "", {}),
    ("POST", "/toggle", {}),
    *(
        (method, suffix, {"headers": {name: value}})
        for method, suffix in [("GET", ""), ("DELETE", ""), ("POST", "/toggle")]
        for name in ("If-Match", "If-None-Match")
        for value in ("*", '"2026-11-20T09:30:00.123456Z"')
    ),
]


@pytest.mark.parametrize(("method", "suffix", "request_"), ON_ONE_TODO)
def test_another_user_s_todo_is_answered_like_a_missing_one(
    alice: User, bob: User, method: str, suffix: str, request_: dict[str, Any]
) -> None:
    """Equality to the byte, but for the request id, and that the todo stays as it was."""
    theirs = bob(method, f"/v1/todos/{alice.todos[0]['id']}{suffix}", **request_)
    nobodys = bob(method, f"/v1/todos/{uuid4()}{suffix}", **request_)
    assert theirs.status == 404
    assert theirs.json()["type"] == "urn:todo-api:problem:todo-not-found"
    if method == "DELETE" or not suffix:
        assert bob(method, "/v1/nothing-here", **request_).json()["type"] == "urn:todo-api:problem:path-not-found"
    assert theirs.but_for_the_request_id() == nobodys.but_for_the_request_id()
    assert alice.list() == [alice.todos[1], alice.todos[0]]
    assert bob.list() == [bob.todos[1], bob.todos[0]]


def test_lists_and_cursors_do_not_cross(alice: User, bob: User) -> None:
    """Even another user's cursor shows only the caller's own rows."""
    cursor = alice("GET", "/v1/todos?limit=1").json()["next_cursor"]
    assert {todo["user_id"] for todo in bob.list(f"limit=100&cursor={cursor}")} <= {bob.id}
    assert alice.list(f"cursor={cursor}") == [alice.todos[0]]


def test_a_user_id_is_compared_exactly(alice: User) -> None:
    """Neither case nor white space nor a pattern makes one user another."""
    for other in (alice.id.upper(), f"{alice.id}x", alice.id[:-1], "%", "alice|_", "a" * 255):
        assert other != alice.id
        items = alice.api("GET", "/v1/todos", user=other).json()["items"]
        assert {todo["user_id"] for todo in items} <= {other}


def test_a_repository_without_a_user_cannot_be_constructed() -> None:
    """There is no way around naming the user."""
    with pytest.raises(TypeError):
        repository.TodoRepository(None)  # type: ignore[arg-type, call-arg]  # which is the point
    with pytest.raises(ValueError, match="a repository needs a user"):
        repository.TodoRepository(None, "")  # type: ignore[arg-type]  # it does not come so far


# --- the statements themselves ----------------------------------------------------------------------------------------

VERSIONS = [datetime(2026, 11, 20, 9, 30, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC)]

OPERATIONS: dict[str, list[Callable[[Any, UUID], object]]] = {
    "create": [
        lambda todos, _: todos.create(TodoCreate(title="x")),
        lambda todos, _: todos.create(TodoCreate(title="x"), "a key"),
        lambda todos, _: todos.create(TodoCreate(title="x"), "a key"),
    ],
    "list": [
        lambda todos, _: todos.list(TodoQuery()),
        lambda todos, _: todos.list(TodoQuery.model_validate({"is_completed": "true"})),
        lambda todos, _: todos.list(TodoQuery.model_validate({"cursor": todos.list(TodoQuery(limit=1)).next_cursor})),
    ],
    "retrieve": [lambda todos, todo: todos.retrieve(todo)],
    "replace": [lambda todos, todo: todos.replace(todo, TodoCreate(title="y"))],
    "update": [
        lambda todos, todo: todos.update(todo, TodoUpdate(title="z")),
        lambda todos, todo: todos.update(todo, TodoUpdate()),
        lambda todos, todo: todos.update(todo, TodoUpdate(title="z"), VERSIONS),
    ],
    "toggle": [lambda todos, todo: todos.toggle(todo), lambda todos, todo: todos.toggle(todo, VERSIONS)],
    "delete": [lambda todos, todo: todos.delete(todo, []), lambda todos, todo: todos.delete(todo)],
}


def _statements(module: ModuleType, environment: dict[str, str], wire: TrafficCounter, carol: User) -> list[str]:
    """Everything that the repository in `module` can send, as it passes the wire."""
    database = Database(lambda: environment["NEON_DATABASE_URL"], repository.SESSION_SETUP_SQL)
    with wire.watch() as traffic:
        for operations in OPERATIONS.values():
            for operation in operations:
                with (
                    database.session(user_id=carol.id, timeout_seconds=8) as session,
                    suppress(module.PreconditionFailed),
                ):
                    operation(module.TodoRepository(session, carol.id), UUID(carol.todos[0]["id"]))
    return traffic.statements


def _unowned(statement: str, user_id: str) -> list[str]:
    """The parts of a statement that touch todos without an own `user_id = caller`."""
    _preamble, parsed = sqlglot.parse(statement, dialect="postgres")
    assert parsed
    found = []
    for part in parsed.find_all(exp.Select, exp.Update, exp.Delete, exp.Insert):
        if isinstance(part, exp.Select):
            sources = [source.this for source in [part.args.get("from_"), *part.args.get("joins", [])] if source]
        elif isinstance(part, exp.Insert):
            sources = [part.this.this]
        else:
            sources = [part.this]
        if not any(isinstance(source, exp.Table) and source.name == "todos" for source in sources):
            continue
        if isinstance(part, exp.Insert):
            columns = [column.name for column in part.this.expressions]
            owner = part.expression.expressions[0].expressions[columns.index("user_id")]
            owned = isinstance(owner, exp.Literal) and owner.this == user_id
        else:
            where = part.args.get("where")
            conjuncts = list(where.this.flatten()) if where and isinstance(where.this, exp.And) else []
            conjuncts = conjuncts or ([where.this] if where else [])
            owned = any(
                isinstance(conjunct, exp.EQ)
                and isinstance(conjunct.left, exp.Column)
                and (conjunct.left.table, conjunct.left.name) == ("todos", "user_id")
                and isinstance(conjunct.right, exp.Literal)
                and conjunct.right.this == user_id
                for conjunct in conjuncts
            )
        if not owned:
            found.append(part.sql())
    return found


def test_every_statement_on_todos_names_its_user(
    environment: dict[str, str], wire: TrafficCounter, carol: User
) -> None:
    """Each read, update and delete has its own `user_id = caller`, and each insert the caller as owner."""
    public = {
        name
        for name, _ in inspect.getmembers(repository.TodoRepository, inspect.isfunction)
        if not name.startswith("_")
    }
    assert set(OPERATIONS) == public
    statements = _statements(repository, environment, wire, carol)
    assert len(statements) == sum(map(len, OPERATIONS.values())) + 1  # the cursor cost a page of its own
    assert all("todos" in statement for statement in statements)
    assert [_unowned(statement, carol.id) for statement in statements] == [[]] * len(statements)


@pytest.mark.parametrize("line", FILTER_LINES)
def test_taking_any_one_filter_out_is_noticed(
    line: int, environment: dict[str, str], wire: TrafficCounter, carol: User
) -> None:
    """The test above can fail, for each filter in the repository."""
    statements = _statements(without_filters({line}), environment, wire, carol)
    assert any(_unowned(statement, carol.id) for statement in statements)


def test_filters_have_one_source() -> None:
    """No statement is built past `_owned`, so that the list of filters above is complete."""
    assert len(re.findall(r"\bself\._owned\(", SOURCE)) == len(FILTER_LINES) == 4
    assert len(re.findall(r"\bselect\(Todo\b", SOURCE)) == 3
    assert len(re.findall(r"\b(?:update|delete)\(Todo\b", SOURCE)) == 2  # which have one filter in common


# --- any sequence of requests -----------------------------------------------------------------------------------------


def test_any_sequence_of_requests_by_three_users_matches_plain_dictionaries(
    lambda_api: Api, *, soak: bool, through_pgbouncer: bool
) -> None:
    """The API against a model that keeps a dictionary for each user."""

    class Machine(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            self.users = [new_user(name, lambda_api) for name in ("gina", "hugo", "iris")]
            self.model = {user.id: {todo["id"]: todo for todo in user.todos} for user in self.users}
            self.keys: dict[tuple[str, str], str] = {}

        def _any_todo(self, data: st.DataObject) -> str:
            known = [todo for todos in self.model.values() for todo in todos]
            return str(data.draw(st.sampled_from([*known, "00000000-0000-4000-8000-000000000000"])))

        def _send(self, data: st.DataObject, method: str, suffix: str = "", **request: Any) -> None:
            user, todo_id = data.draw(st.sampled_from(self.users)), self._any_todo(data)
            before = self.model[user.id].get(todo_id)
            tag = data.draw(st.sampled_from(["", "current", OLD_TAG])) if method != "GET" else ""
            if tag == "current":
                tag = before["etag"] if before else OLD_TAG
            answer = user(method, f"/v1/todos/{todo_id}{suffix}", headers={"If-Match": tag}, **request)
            if before is None:
                assert answer.status == 404
                return
            if tag == OLD_TAG:
                assert answer.status == 412
                return
            if method == "DELETE":
                assert answer.status == 204
                del self.model[user.id][todo_id]
                return
            assert answer.status == 200
            after = answer.json()
            changes = request.get("json", {})
            if method == "PUT":
                changes = {"description": None, "is_completed": False} | changes
            if suffix:
                changes = {"is_completed": not before["is_completed"]}
            assert after == before | changes | {"updated_at": after["updated_at"], "etag": after["etag"]}
            assert (after["updated_at"] > before["updated_at"]) is bool(changes)
            self.model[user.id][todo_id] = after

        @rule(data=st.data(), title=TITLES, completed=st.booleans())
        def create(self, data: st.DataObject, title: str, *, completed: bool) -> None:
            user = data.draw(st.sampled_from(self.users))
            todo = user.create(title, is_completed=completed)
            self.model[user.id][todo["id"]] = todo

        @rule(data=st.data(), key=st.sampled_from("ABC"))
        def create_once(self, data: st.DataObject, key: str) -> None:
            user = data.draw(st.sampled_from(self.users))
            known = self.keys.get((user.id, key))
            answer = user("POST", "/v1/todos", json={"title": key}, headers={"Idempotency-Key": key})
            todo = answer.json()
            assert answer.status == 201
            assert ("idempotency-replayed" in answer.headers) is (known in self.model[user.id])
            assert known not in self.model[user.id] or todo == self.model[user.id][known]
            self.keys[user.id, key] = todo["id"]
            self.model[user.id][todo["id"]] = todo

        @rule(data=st.data())
        def retrieve(self, data: st.DataObject) -> None:
            self._send(data, "GET")

        @rule(data=st.data(), body=st.fixed_dictionaries({"title": TITLES}, optional=OPTIONAL))
        def replace(self, data: st.DataObject, body: dict[str, Any]) -> None:
            self._send(data, "PUT", json=body)

        @rule(data=st.data(), body=st.fixed_dictionaries({}, optional={"title": TITLES, **OPTIONAL}))
        def update(self, data: st.DataObject, body: dict[str, Any]) -> None:
            self._send(data, "PATCH", json=body)

        @rule(data=st.data())
        def toggle(self, data: st.DataObject) -> None:
            self._send(data, "POST", "/toggle")

        @rule(data=st.data())
        def delete(self, data: st.DataObject) -> None:
            self._send(data, "DELETE")

        @invariant()
        def everybody_sees_their_own(self) -> None:
            for user in self.users:
                expected = sorted(self.model[user.id].values(), key=_place, reverse=True)
                assert user.list() == expected
                assert user.list("is_completed=true") == [todo for todo in expected if todo["is_completed"]]

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=100 if soak else 3 if through_pgbouncer else 5,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def _place(todo: dict[str, Any]) -> tuple[str, str]:
    return todo["created_at"], todo["id"]


OLD_TAG = '"2020-01-01T00:00:00.000000Z"'
TITLES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=255)
OPTIONAL = {
    "description": st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    "is_completed": st.booleans(),
}
