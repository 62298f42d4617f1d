"""Any sequence of requests by three users, compared with a dictionary for each user."""

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

from tests.support.http.clients import Api
from tests.support.http.users import User, new_user

pytestmark = [pytest.mark.pooled, pytest.mark.slow]

OLD_TAG = '"2020-01-01T00:00:00.000000Z"'
TITLES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=255)
OPTIONAL = {
    "description": st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    "is_completed": st.booleans(),
}


class ThreeUsers(RuleBasedStateMachine):
    """Sends requests, and does to `model` what they should have done to the database."""

    api: Api

    @initialize()
    def begin(self) -> None:
        self.users = [new_user(name, self.api) for name in ("gina", "hugo", "iris")]
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
        expected = [todo for todo in self._newest_first(user) if todo["is_completed"] is completed]
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
            assert user.list() == self._newest_first(user)


def test_any_sequence_of_requests_by_three_users_matches_a_dictionary_for_each_user(
    lambda_api: Api, *, soak: bool, through_pgbouncer: bool
) -> None:

    class OnLambda(ThreeUsers):
        api = lambda_api

    run_state_machine_as_test(
        OnLambda,
        settings=settings(
            max_examples=100 if soak else 3 if through_pgbouncer else 5,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
