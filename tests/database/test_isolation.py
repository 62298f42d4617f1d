"""Tenant isolation: no user reads, changes or detects another user's todos."""

import pytest

from tests.support.documents.leaks import leaks
from tests.support.documents.walk import new_caller
from tests.support.http.clients import Api
from tests.support.http.users import User
from todo_api.database import todos as repository

pytestmark = pytest.mark.pooled


@pytest.mark.smoke
def test_no_option_of_a_request_changes_what_another_user_gets(
    either_api: Api, request: pytest.FixtureRequest
) -> None:
    victim = new_caller("alice", either_api)
    intruder = new_caller("bob", either_api)
    briefly = request.config.getoption("--quick")
    assert leaks(victim, intruder, victim.read_items, briefly=briefly) == []


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
