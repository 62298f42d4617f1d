"""`Idempotency-Key`: retries of create do not create a second todo."""

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import pytest

from tests.support.http.assertions import assert_problem
from tests.support.http.clients import Api, Response
from tests.support.http.users import User

pytestmark = pytest.mark.pooled


def _create(user: User, key: str, **body: Any) -> Response:
    return user(
        "POST", "/v1/todos", json={"title": "once"} | body, headers={"Idempotency-Key": key}
    )


def _assert_key_is_reported(response: Response) -> Any:
    problem = assert_problem(response, 422)
    assert [(error["in"], error["field"]) for error in problem["errors"]] == [
        ("header", "Idempotency-Key")
    ]
    return problem


@pytest.mark.parametrize(
    "body",
    [
        b'{"title": "once"}',
        b'{"is_completed":false,"description":null,"title":"once"}',
        b' {"title" : "\\u006fnce"} ',
        b'{"title": "  once\\n"}',
        b'{"title": "once", "is_completed": null}',
    ],
)
def test_retry_with_the_same_key_and_an_equivalent_body_returns_the_same_todo(
    alice: User, body: bytes
) -> None:
    first = _create(alice, "k-1")
    second = alice("POST", "/v1/todos", body=body, headers={"Idempotency-Key": "k-1"})
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert second.status == first.status == 201
    assert second.json() == first.json()
    assert second.headers["location"] == first.headers["location"]
    assert second.headers["etag"] == first.headers["etag"]
    assert alice.list() == [first.json(), alice.todos[1], alice.todos[0]]


@pytest.mark.smoke
def test_retry_returns_the_todo_as_it_is_after_each_change(alice: User) -> None:
    path = f"/v1/todos/{_create(alice, 'k-2').json()['id']}"
    for method, suffix, body in [
        ("PATCH", "", {"title": "changed", "is_completed": True}),
        ("PUT", "", {"title": "replaced"}),
        ("POST", "/toggle", {}),
    ]:
        changed = alice(method, f"{path}{suffix}", json=body)
        replay = _create(alice, "k-2")
        assert (replay.status, replay.json(), replay.headers["etag"]) == (
            201,
            changed.json(),
            changed.headers["etag"],
        )
        assert alice.list() == [changed.json(), alice.todos[1], alice.todos[0]]


@pytest.mark.parametrize("body", [{"title": "other"}, {"description": ""}, {"is_completed": True}])
def test_same_key_with_another_body_is_rejected(alice: User, body: dict[str, Any]) -> None:
    todo = _create(alice, "k-3").json()
    problem = _assert_key_is_reported(_create(alice, "k-3", **body))
    assert problem["type"] == "urn:todo-api:problem:idempotency-key-reused"
    # The key is still taken after the todo has been changed to equal the second body.
    changed = alice("PATCH", f"/v1/todos/{todo['id']}", json=body).json()
    assert _create(alice, "k-3", **body).status == 422
    assert alice.list() == [changed, alice.todos[1], alice.todos[0]]


def test_key_can_be_reused_after_its_todo_is_deleted(alice: User) -> None:
    todo = _create(alice, "k-5").json()
    alice("DELETE", f"/v1/todos/{todo['id']}")
    again = _create(alice, "k-5", title="another")
    assert (again.status, again.json()["title"]) == (201, "another")
    assert "idempotency-replayed" not in again.headers
    assert again.json()["id"] != todo["id"]


@pytest.mark.smoke
def test_each_user_has_separate_keys(alice: User, bob: User) -> None:
    of_alice = _create(alice, "shared")
    of_bob = _create(bob, "shared", title="bob's")
    assert (of_alice.status, of_bob.status) == (201, 201)
    assert "idempotency-replayed" not in of_bob.headers
    assert (of_alice.json()["user_id"], of_bob.json()["user_id"]) == (alice.id, bob.id)
    assert _create(bob, "shared", title="bob's").json() == of_bob.json()
    assert _create(alice, "shared").json() == of_alice.json()


@pytest.mark.parametrize(
    "key", ["x", "~" * 255, '"quoted"', "a,b", "8e03978e-40d5-43e8-bc93-6894a57f9324", "'--%s"]
)
def test_any_visible_ascii_is_a_valid_key(alice: User, key: str) -> None:
    first = _create(alice, key)
    assert _create(alice, key).json() == first.json()
    assert _create(alice, key[:-1] + "X").json()["id"] != first.json()["id"]


@pytest.mark.parametrize("key", ["x" * 256, "a b", "ü", "a\tb"])
def test_invalid_key_is_rejected(alice: User, key: str) -> None:
    _assert_key_is_reported(_create(alice, key))
    assert alice.list() == [alice.todos[1], alice.todos[0]]


def test_rejected_create_does_not_use_up_its_key(alice: User) -> None:
    assert _create(alice, "k-6", title="").status == 422
    assert "idempotency-replayed" not in _create(alice, "k-6").headers


def test_50_concurrent_creates_with_one_key_create_one_todo(local_api: Api, sql: Any) -> None:
    user = User("fifty|one-key", local_api, [])  # not stored in the database yet
    with ThreadPoolExecutor(50) as executor:
        responses = list(executor.map(lambda _: _create(user, "k-7"), range(50)))
    assert [response.status for response in responses] == [201] * 50
    assert len({response.body for response in responses}) == 1
    assert sum("idempotency-replayed" not in response.headers for response in responses) == 1
    assert sql("SELECT count(*) FROM todos WHERE user_id = %s", user.id) == [(1,)]


def test_other_operations_ignore_the_key(carol: User) -> None:
    path = f"{carol.first_path}/toggle"
    toggled = [
        carol("POST", path, headers={"Idempotency-Key": "k-8"}).json()["is_completed"]
        for _ in range(2)
    ]
    assert toggled == [True, False]


def test_a_create_without_a_key_stores_neither_key_nor_hash(carol: User, sql: Any) -> None:
    todo = carol.create("Buy milk")

    stored = sql("SELECT idempotency_key, request_hash FROM todos WHERE id = %s", todo["id"])

    assert stored == [(None, None)]


def test_the_hash_of_a_request_leaves_out_defaults(carol: User, sql: Any) -> None:
    """So a field with a default that a later release adds does not change the hash of a retry."""
    todo = _create(carol, "k-9", is_completed=False).json()

    stored = sql("SELECT request_hash FROM todos WHERE id = %s", todo["id"])

    assert bytes(stored[0][0]) == sha256(b'{"title":"once"}').digest()
