"""Safe retries of create: `Idempotency-Key`."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.assertions import assert_problem
from tests.support.clients import Api, Response
from tests.support.users import User, new_user

pytestmark = pytest.mark.pooled


def _create(user: User, key: str, **body: Any) -> Response:
    return user("POST", "/v1/todos", json={"title": "once"} | body, headers={"Idempotency-Key": key})


def test_a_retry_with_the_same_key_answers_with_the_same_todo(alice: User) -> None:
    """Proves that the second create makes nothing, says so, and differs from the first in that header only."""
    first, second = _create(alice, "k-1"), _create(alice, "k-1")
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert second.status == first.status == 201
    assert second.json() == first.json()
    for name in ("location", "etag"):
        assert second.headers[name] == first.headers[name]
    assert alice.list() == [first.json(), alice.todos[1], alice.todos[0]]


def test_a_replay_answers_with_the_todo_as_it_is_now(alice: User) -> None:
    """Proves that a retry after a change neither undoes the change nor hides it."""
    todo = _create(alice, "k-2").json()
    changed = alice("PATCH", f"/v1/todos/{todo['id']}", json={"title": "changed", "is_completed": True})
    replay = _create(alice, "k-2")
    assert (replay.status, replay.json(), replay.headers["etag"]) == (201, changed.json(), changed.headers["etag"])
    assert alice.list() == [changed.json(), alice.todos[1], alice.todos[0]]


@pytest.mark.parametrize("body", [{"title": "other"}, {"description": ""}, {"is_completed": True}])
def test_the_same_key_with_another_body_is_refused(alice: User, body: dict[str, Any]) -> None:
    """Proves 422, naming the header, also after the todo has come to look like the second body."""
    todo = _create(alice, "k-3").json()
    problem = assert_problem(_create(alice, "k-3", **body), 422)
    assert problem["type"] == "urn:todo-api:problem:idempotency-key-reused"
    assert [(error["in"], error["field"]) for error in problem["errors"]] == [("header", "Idempotency-Key")]
    changed = alice("PATCH", f"/v1/todos/{todo['id']}", json=body).json()
    assert _create(alice, "k-3", **body).status == 422
    assert alice.list() == [changed, alice.todos[1], alice.todos[0]]


@pytest.mark.parametrize(
    "same",
    [
        b'{"is_completed":false,"description":null,"title":"once"}',
        b' {"title" : "\\u006fnce"} ',
        b'{"title": "  once\\n"}',
    ],
)
def test_bodies_that_ask_for_the_same_are_the_same(alice: User, same: bytes) -> None:
    """Proves that order, white space, escapes and spelt-out defaults make no other request."""
    first = _create(alice, "k-4")
    again = alice("POST", "/v1/todos", body=same, headers={"Idempotency-Key": "k-4"})
    assert (again.status, again.json()) == (201, first.json())


def test_a_key_is_free_again_when_its_todo_is_deleted(alice: User) -> None:
    """Proves that a key lives as long as its todo: later with any body."""
    todo = _create(alice, "k-5").json()
    alice("DELETE", f"/v1/todos/{todo['id']}")
    again = _create(alice, "k-5", title="another")
    assert (again.status, again.json()["title"]) == (201, "another")
    assert "idempotency-replayed" not in again.headers
    assert again.json()["id"] != todo["id"]


def test_keys_of_two_users_never_meet(alice: User, bob: User) -> None:
    """Proves that the same key of two users makes a todo for each, and tells neither of the other."""
    mine, theirs = _create(alice, "shared"), _create(bob, "shared", title="bob's")
    assert (mine.status, theirs.status) == (201, 201)
    assert "idempotency-replayed" not in theirs.headers
    assert (mine.json()["user_id"], theirs.json()["user_id"]) == (alice.id, bob.id)
    assert _create(bob, "shared", title="bob's").json() == theirs.json()
    assert _create(alice, "shared").json() == mine.json()


def test_without_a_key_each_create_is_a_new_todo(alice: User) -> None:
    """Proves that equal bodies alone are no retry."""
    todos = [alice.create("twice") for _ in range(2)]
    assert alice.list() == [todos[1], todos[0], alice.todos[1], alice.todos[0]]


@pytest.mark.parametrize("key", ["x", "~" * 255, '"quoted"', "a,b", "8e03978e-40d5-43e8-bc93-6894a57f9324", "'--%s"])
def test_any_visible_ascii_is_a_key(alice: User, key: str) -> None:
    """Proves what clients use, compared exactly."""
    first = _create(alice, key)
    assert _create(alice, key).json() == first.json()
    assert _create(alice, key[:-1] + "X").json()["id"] != first.json()["id"]


@pytest.mark.parametrize("key", ["x" * 256, "a b", "ü", "a\tb"])
def test_what_cannot_be_a_key_is_refused(alice: User, key: str) -> None:
    """Proves 422 and no todo: a retry that silently is none would be worse."""
    problem = assert_problem(_create(alice, key), 422)
    assert [(error["in"], error["field"]) for error in problem["errors"]] == [("header", "Idempotency-Key")]
    assert alice.list() == [alice.todos[1], alice.todos[0]]


def test_a_refused_create_leaves_its_key_free(alice: User) -> None:
    """Proves that a key is taken by a todo, and not by a request that made none."""
    assert _create(alice, "k-6", title="").status == 422
    assert "idempotency-replayed" not in _create(alice, "k-6").headers


def test_fifty_creates_at_once_with_one_key_make_one_todo(local_api: Api, sql: Any) -> None:
    """Proves one row and 50 equal answers, one of them the first, for a user whom nobody has seen before."""
    user = User("fifty|one-key", local_api, [])
    with ThreadPoolExecutor(50) as executor:
        answers = list(executor.map(lambda _: _create(user, "k-7"), range(50)))
    assert [answer.status for answer in answers] == [201] * 50
    assert len({answer.body for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert sql("SELECT count(*) FROM todos WHERE user_id = %s", user.id) == [(1,)]


def test_other_operations_know_no_keys(carol: User) -> None:
    """Proves that a toggle with a key flips each time: only create can be sent again with it."""
    path = f"/v1/todos/{carol.todos[0]['id']}/toggle"
    flips = [carol("POST", path, headers={"Idempotency-Key": "k-8"}).json()["is_completed"] for _ in range(2)]
    assert flips == [True, False]


def test_the_key_stays_when_its_todo_changes(local_api: Api) -> None:
    """Proves that neither replacing nor toggling frees a key."""
    user = new_user("keeper", local_api)
    todo = _create(user, "k-9").json()
    user("PUT", f"/v1/todos/{todo['id']}", json={"title": "replaced"})
    user("POST", f"/v1/todos/{todo['id']}/toggle")
    assert _create(user, "k-9").json()["id"] == todo["id"]
