"""What was read can be sent back: the fields that the server makes are ignored in a body."""

from typing import Any

import pytest

from tests.support.http.assertions import assert_problem
from tests.support.http.users import User

pytestmark = pytest.mark.pooled

SERVER_FIELDS = {
    "id": "00000000-0000-4000-8000-000000000000",
    "user_id": "s3cr3t-canary",
    "created_at": "2020-01-01T00:00:00Z",
    "updated_at": None,
    "etag": {"not": ["a tag"]},
}


@pytest.mark.smoke
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_todo_that_was_read_can_be_changed_and_sent_back(alice: User, method: str) -> None:
    read = alice("GET", alice.first_path).json()
    response = alice(method, alice.first_path, json={**read, "title": "changed"})
    assert response.status == 200
    written = response.json()
    version = {"updated_at": written["updated_at"], "etag": written["etag"]}
    assert written == {**read, "title": "changed", **version}
    assert written["etag"] != read["etag"]


def test_a_todo_that_was_read_can_be_created_again(alice: User) -> None:
    copy = alice("POST", "/v1/todos", json=alice.todos[0])
    assert copy.status == 201
    made = {name: copy.json()[name] for name in SERVER_FIELDS if name != "user_id"}
    assert copy.json() == {**alice.todos[0], **made}
    assert copy.json()["id"] != alice.todos[0]["id"]


@pytest.mark.parametrize(("method", "status"), [("POST", 201), ("PUT", 200), ("PATCH", 200)])
def test_fields_of_the_server_have_no_effect_whatever_they_hold(
    alice: User, bob: User, method: str, status: int
) -> None:
    body = {**SERVER_FIELDS, "user_id": bob.id, "title": "alice's"}
    before = bob.list()
    path = "/v1/todos" if method == "POST" else alice.first_path
    response = alice(method, path, json=body)
    assert response.status == status
    written = response.json()
    assert (written["user_id"], written["title"]) == (alice.id, "alice's")
    assert written["created_at"] >= alice.todos[0]["created_at"]
    assert written["id"] not in (SERVER_FIELDS["id"], alice.todos[1]["id"])
    assert bob.list() == before


def test_update_with_only_fields_of_the_server_changes_nothing(alice: User) -> None:
    response = alice("PATCH", alice.first_path, json=SERVER_FIELDS)
    assert (response.status, response.json()) == (200, alice.todos[0])
    old = {"If-Match": '"2020-01-01T00:00:00.000000Z"'}
    assert_problem(alice("PATCH", alice.first_path, json=SERVER_FIELDS, headers=old), 412)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_the_etag_of_a_body_is_no_precondition(alice: User, method: str) -> None:
    stale = alice.todos[0]
    alice("POST", f"{alice.first_path}/toggle")
    assert alice(method, alice.first_path, json={**stale, "title": "last"}).status == 200


def test_fields_of_the_server_are_no_part_of_an_idempotent_request(alice: User) -> None:
    key = {"Idempotency-Key": "sent-back"}
    first = alice("POST", "/v1/todos", json={"title": "once"}, headers=key)
    again = alice("POST", "/v1/todos", json={"title": "once", **SERVER_FIELDS}, headers=key)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_an_unknown_field_beside_them_is_refused(alice: User, method: str) -> None:
    body: dict[str, Any] = {**alice.todos[0], "Id": 1, "is_done": True}
    path = "/v1/todos" if method == "POST" else alice.first_path
    problem = assert_problem(alice(method, path, json=body), 422)
    assert [error["field"] for error in problem["errors"]] == ["Id", "is_done"]
