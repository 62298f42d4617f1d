"""Users of the API, who own todos."""

from dataclasses import dataclass
from itertools import count
from typing import Any

from tests.support.clients import Api, Response


@dataclass
class User:
    """A user with rows of their own, and the way to call the API as them."""

    id: str
    api: Api
    todos: list[dict[str, Any]]

    def __call__(self, method: str, path: str, **request: Any) -> Response:
        """Call the API as this user."""
        return self.api(method, path, user=self.id, **request)

    def create(self, title: str, **fields: object) -> dict[str, Any]:
        """Create a todo."""
        answer = self("POST", "/v1/todos", json={"title": title, **fields})
        assert answer.status == 201, answer
        todo: dict[str, Any] = answer.json()
        return todo

    def list(self, parameters: str = "limit=100") -> list[dict[str, Any]]:
        """The user's todos, of one page."""
        items: list[dict[str, Any]] = self("GET", f"/v1/todos?{parameters}").json()["items"]
        return items


_numbers = count(1)


def new_user(name: str, way: Api) -> User:
    """A user whom nobody has seen before, owning two todos."""
    user = User(f"{name}|{next(_numbers)}", way, [])
    user.todos = [
        user.create(f"{name}'s first", description="of two"),
        user.create(f"{name}'s second", is_completed=True),
    ]
    return user
