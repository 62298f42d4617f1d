"""Five operations, in the order of a todo's life, as events.

Replace and toggle cost what update costs.
"""

import json
from typing import Any

from dev.lab.events import http_api_event

OPERATIONS: dict[str, tuple[str, str, dict[str, Any] | None, int]] = {
    "create": ("POST", "/v1/todos", {"title": "Buy milk", "description": "Two of them"}, 201),
    "list": ("GET", "/v1/todos", None, 200),
    "retrieve": ("GET", "/v1/todos/{id}", None, 200),
    "update": ("PATCH", "/v1/todos/{id}", {"title": "Buy bread"}, 200),
    "delete": ("DELETE", "/v1/todos/{id}", None, 204),
}
"""Method, path, body, and the status that answers it."""


def event(name: str, user: str, todo_id: str = "", query: str = "") -> dict[str, Any]:
    """The event of an operation."""
    method, path, content, _ = OPERATIONS[name]
    body = None if content is None else json.dumps(content).encode()
    headers = {"X-User-Id": user} | ({"Content-Type": "application/json"} if body else {})
    return http_api_event(method, path.format(id=todo_id) + query, headers, body)
