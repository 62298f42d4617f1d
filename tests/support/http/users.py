"""API users for the tests."""

from dataclasses import dataclass
from typing import Any

from tests.support.http.clients import Api, Response


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


def new_user(name: str, api: Api) -> User:
    """Create a user with two todos."""
    user = User(api.user_id(name), api, [])
    user.todos = [
        user.create(f"{name}'s first", description="of two"),
        user.create(f"{name}'s second", is_completed=True),
    ]
    return user
