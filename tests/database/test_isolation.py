"""Tenant isolation: no user reads, changes or detects another user's todos."""

from operator import itemgetter
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.support.documents.leaks import leaks
from tests.support.documents.walk import new_caller
from tests.support.http.clients import Api
from tests.support.http.users import User, new_user
from todo_api.database import todos as repository

pytestmark = pytest.mark.pooled


@pytest.mark.smoke
def test_another_users_id_gets_the_same_response_as_a_missing_one(either_api: Api) -> None:
    victim = new_caller("alice", either_api)
    intruder = new_caller("bob", either_api)
    assert leaks(victim, intruder, victim.read_items, briefly=True) == []


def test_no_option_of_a_request_changes_what_another_user_gets(either_api: Api) -> None:
    victim = new_caller("alice", either_api)
    intruder = new_caller("bob", either_api)
    assert leaks(victim, intruder, victim.read_items) == []


@pytest.mark.smoke
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


# --- any sequence of requests ---------------------------------------------------------------------

OLD_TAG = '"2020-01-01T00:00:00.000000Z"'
TITLES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=255)
OPTIONAL = {
    "description": st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    "is_completed": st.booleans(),
}


@pytest.mark.slow
def test_any_sequence_of_requests_by_three_users_matches_a_dictionary_for_each_user(
    lambda_api: Api, *, soak: bool, through_pgbouncer: bool
) -> None:

    class Machine(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            self.users = [new_user(name, lambda_api) for name in ("gina", "hugo", "iris")]
            self.model = {user.id: {todo["id"]: todo for todo in user.todos} for user in self.users}
            self.keys: dict[tuple[str, str], str] = {}

        def _newest_first(self, user: User) -> list[dict[str, Any]]:
            return sorted(
                self.model[user.id].values(), key=itemgetter("created_at", "id"), reverse=True
            )

        def _any_todo(self, data: st.DataObject) -> str:
            known = [todo for todos in self.model.values() for todo in todos]
            return str(data.draw(st.sampled_from([*known, "00000000-0000-4000-8000-000000000000"])))

        def _send(self, data: st.DataObject, method: str, suffix: str = "", **request: Any) -> None:
            user = data.draw(st.sampled_from(self.users))
            todo_id = self._any_todo(data)
            before = self.model[user.id].get(todo_id)
            tag = data.draw(st.sampled_from(["", "current", OLD_TAG])) if method != "GET" else ""
            if tag == "current":
                tag = before["etag"] if before else OLD_TAG
            response = user(
                method, f"/v1/todos/{todo_id}{suffix}", headers={"If-Match": tag}, **request
            )
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
            assert after == before | changes | {
                "updated_at": after["updated_at"],
                "etag": after["etag"],
            }
            assert (after["updated_at"] > before["updated_at"]) is bool(changes)
            self.model[user.id][todo_id] = after

        @rule(data=st.data(), completed=st.booleans())
        def list_by_completion(self, data: st.DataObject, *, completed: bool) -> None:
            user = data.draw(st.sampled_from(self.users))
            expected = [
                todo for todo in self._newest_first(user) if todo["is_completed"] is completed
            ]
            assert user.list(f"limit=100&is_completed={str(completed).lower()}") == expected

        @rule(data=st.data(), title=TITLES, completed=st.booleans())
        def create(self, data: st.DataObject, title: str, *, completed: bool) -> None:
            user = data.draw(st.sampled_from(self.users))
            todo = user.create(title, is_completed=completed)
            self.model[user.id][todo["id"]] = todo

        @rule(data=st.data(), key=st.sampled_from("ABC"))
        def create_once(self, data: st.DataObject, key: str) -> None:
            user = data.draw(st.sampled_from(self.users))
            known = self.keys.get((user.id, key))
            response = user(
                "POST", "/v1/todos", json={"title": key}, headers={"Idempotency-Key": key}
            )
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

        @rule(
            data=st.data(), body=st.fixed_dictionaries({}, optional={"title": TITLES, **OPTIONAL})
        )
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
                assert user.list() == self._newest_first(user)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=100 if soak else 3 if through_pgbouncer else 5,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
