"""Tenant isolation: no user reads, changes or detects another user's todos."""

import inspect
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from operator import itemgetter
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
def test_another_users_todo_gets_the_same_response_as_a_missing_one(
    alice: User, bob: User, method: str, suffix: str, request_: dict[str, Any]
) -> None:
    anothers = bob(method, f"{alice.first_path}{suffix}", **request_)
    missing = bob(method, f"/v1/todos/{uuid4()}{suffix}", **request_)
    assert anothers.status == 404
    assert anothers.json()["type"] == "urn:todo-api:problem:todo-not-found"
    if method == "DELETE" or not suffix:
        assert bob(method, "/v1/nothing-here", **request_).json()["type"] == "urn:todo-api:problem:path-not-found"
    assert anothers.without_request_id() == missing.without_request_id()
    assert alice.list() == [alice.todos[1], alice.todos[0]]
    assert bob.list() == [bob.todos[1], bob.todos[0]]


def test_another_users_cursor_lists_only_own_todos(alice: User, bob: User) -> None:
    cursor = alice("GET", "/v1/todos?limit=1").json()["next_cursor"]
    assert {todo["user_id"] for todo in bob.list(f"limit=100&cursor={cursor}")} <= {bob.id}
    assert alice.list(f"cursor={cursor}") == [alice.todos[0]]


def test_user_ids_are_compared_exactly(alice: User) -> None:
    for other in (alice.id.upper(), f"{alice.id}x", alice.id[:-1], "%", "alice|_", "a" * 255):
        assert other != alice.id
        items = alice.api("GET", "/v1/todos", user=other).json()["items"]
        assert {todo["user_id"] for todo in items} <= {other}


def test_a_repository_requires_a_user() -> None:
    with pytest.raises(TypeError):
        repository.TodoRepository(None)  # type: ignore[arg-type, call-arg]  # deliberately
    with pytest.raises(ValueError, match="a repository needs a user"):
        repository.TodoRepository(None, "")  # type: ignore[arg-type]  # the session is not used


# --- the filter in each statement -------------------------------------------------------------------------------------

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
    """Return the statements that the operations of the repository in `module` send."""
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


def _unfiltered(statement: str, user_id: str) -> list[str]:
    """Return the parts of a statement that access todos without their own `user_id = caller`."""
    _session_setup, parsed = sqlglot.parse(statement, dialect="postgres")
    assert parsed
    found = []
    for part in parsed.find_all(exp.Select, exp.Update, exp.Delete, exp.Insert):
        sources = [part.this.this if isinstance(part, exp.Insert) else part.this]
        if isinstance(part, exp.Select):
            sources = [source.this for source in [part.args.get("from_"), *part.args.get("joins", [])] if source]
        if not any(isinstance(source, exp.Table) and source.name == "todos" for source in sources):
            continue
        if isinstance(part, exp.Insert):
            columns = [column.name for column in part.this.expressions]
            owner = part.expression.expressions[0].expressions[columns.index("user_id")]
            filtered = isinstance(owner, exp.Literal) and owner.this == user_id
        else:
            where = part.args.get("where")
            conjuncts = [] if not where else where.this.flatten() if isinstance(where.this, exp.And) else [where.this]
            filtered = any(
                isinstance(conjunct, exp.EQ)
                and isinstance(conjunct.left, exp.Column)
                and (conjunct.left.table, conjunct.left.name) == ("todos", "user_id")
                and isinstance(conjunct.right, exp.Literal)
                and conjunct.right.this == user_id
                for conjunct in conjuncts
            )
        if not filtered:
            found.append(part.sql())
    return found


def test_every_access_to_todos_filters_by_the_user(
    environment: dict[str, str], wire: TrafficCounter, carol: User
) -> None:
    methods = {name for name, _ in inspect.getmembers(repository.TodoRepository, inspect.isfunction)}
    assert set(OPERATIONS) == {name for name in methods if not name.startswith("_")}
    statements = _statements(repository, environment, wire, carol)
    assert len(statements) == sum(map(len, OPERATIONS.values())) + 1  # a page was read for its cursor
    assert all("todos" in statement for statement in statements)
    assert [_unfiltered(statement, carol.id) for statement in statements] == [[]] * len(statements)


@pytest.mark.parametrize("line", FILTER_LINES)
def test_removing_any_one_filter_is_detected(
    line: int, environment: dict[str, str], wire: TrafficCounter, carol: User
) -> None:
    statements = _statements(without_filters({line}), environment, wire, carol)
    assert any(_unfiltered(statement, carol.id) for statement in statements)


def test_statements_are_filtered_only_by_owned() -> None:
    assert len(re.findall(r"\bself\._owned\(", SOURCE)) == len(FILTER_LINES) == 4
    assert len(re.findall(r"\bselect\(Todo\b", SOURCE)) == 3
    assert len(re.findall(r"\b(?:update|delete)\(Todo\b", SOURCE)) == 2  # in `_write`, with one filter for both


# --- any sequence of requests -----------------------------------------------------------------------------------------

OLD_TAG = '"2020-01-01T00:00:00.000000Z"'
TITLES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=255)
OPTIONAL = {
    "description": st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    "is_completed": st.booleans(),
}


def test_any_sequence_of_requests_by_three_users_matches_a_dictionary_for_each_user(
    lambda_api: Api, *, soak: bool, through_pgbouncer: bool
) -> None:

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
            response = user(method, f"/v1/todos/{todo_id}{suffix}", headers={"If-Match": tag}, **request)
            if before is None:
                assert response.status == 404
                return
            if tag == OLD_TAG:
                assert response.status == 412
                return
            if method == "DELETE":
                assert response.status == 204
                del self.model[user.id][todo_id]
                return
            assert response.status == 200
            after = response.json()
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
            response = user("POST", "/v1/todos", json={"title": key}, headers={"Idempotency-Key": key})
            todo = response.json()
            assert response.status == 201
            assert ("idempotency-replayed" in response.headers) is (known in self.model[user.id])
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
        def every_user_lists_their_own_todos(self) -> None:
            for user in self.users:
                expected = sorted(self.model[user.id].values(), key=itemgetter("created_at", "id"), reverse=True)
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
