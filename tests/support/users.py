"""API users for the tests."""

from dataclasses import dataclass
from itertools import count
from typing import Any

from tests.support.clients import Api, Response


@dataclass
class User:
    """A user with todos, and the API to call as this user."""

    id: str
    api: Api
    todos: list[dict[str, Any]]

    def __call__(self, method: str, path: str, **request: Any) -> Response:
        """Call the API as this user."""
        return self.api(method, path, user=self.id, **request)

    @property
    def first_path(self) -> str:
        """The path of the user's first todo."""
        return f"/v1/todos/{self.todos[0]['id']}"

    def create(self, title: str, **fields: object) -> dict[str, Any]:
        """Create a todo."""
        response = self("POST", "/v1/todos", json={"title": title, **fields})
        assert response.status == 201, response
        todo: dict[str, Any] = response.json()
        return todo

    def list(self, parameters: str = "limit=100") -> list[dict[str, Any]]:
        """Return one page of the user's todos."""
        items: list[dict[str, Any]] = self("GET", f"/v1/todos?{parameters}").json()["items"]
        return items


_numbers = count(1)


def new_user(name: str, api: Api) -> User:
    """Create a user with a new ID and two todos."""
    user = User(f"{name}|{next(_numbers)}", api, [])
    user.todos = [
        user.create(f"{name}'s first", description="of two"),
        user.create(f"{name}'s second", is_completed=True),
    ]
    return user
