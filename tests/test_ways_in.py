"""The same request gives the same answer, whichever way it comes in."""

import re
from base64 import b64encode
from typing import Any

import pytest

from tests.clients import REQUEST_ID, Answer, Api, function_url_event, http_api_event, invoke, rest_api_event
from tests.conftest import User, new_user

JSON = {"Content-Type": "application/json"}


def _requests(todo: str) -> list[tuple[str, str, dict[str, str], bytes | None]]:
    path = f"/v1/todos/{todo}"
    return [
        ("GET", "/health", {}, None),
        ("HEAD", "/health", {}, None),
        ("GET", "/ready", {}, None),
        ("GET", "/v1/todos", {}, None),
        ("GET", "/v1/todos?limit=1", {}, None),
        ("GET", "/v1/todos?limit=1&limit=2", {}, None),
        ("GET", "/v1/todos?is_completed=true&limit=2", {}, None),
        ("GET", "/v1/todos?cursor=", {}, None),
        ("GET", "/v1/todos?is%5Fcompleted=tr%75e", {}, None),
        ("GET", "/v1/todos/", {}, None),
        ("GET", path, {}, None),
        ("GET", path.replace("-", "%2D"), {}, None),
        ("GET", f"{path}?x=1", {}, None),
        ("GET", "/v1/todos/not-a-uuid", {}, None),
        ("GET", "/v1/todos/a%2Fb", {}, None),
        ("PATCH", path, JSON, b'{"title": "Gr\xc3\xbc\xc3\x9fe"}'),
        ("PATCH", path, JSON, b"{}"),
        ("PATCH", path, JSON, b'{"title": "\xff"}'),
        ("PATCH", path, JSON, b""),
        ("PATCH", path, {"Content-Type": "text/plain"}, b"{}"),
        ("PATCH", path, {"Content-Type": ""}, b"{}"),
        ("PUT", path, JSON, b'{"title": ""}'),
        ("PUT", path, JSON, b'{"title": "x", "x": 1}'),
        ("POST", path, {}, None),
        ("OPTIONS", path, {}, None),
        ("POST", "/v1/todos", JSON, b"x" * 70_000),
        ("GET", "/v1/todos", {"X-User-Id": ""}, None),
        ("GET", "/v1/todos", {"X-User-Id": "a b"}, None),
        ("GET", "/v1/todos", {"X-Request-Id": "my-own_1.id"}, None),
        ("GET", "/v1/todos", {"Origin": "https://app.example"}, None),
        ("GET", "/v1/todos", {"Origin": "https://evil.example"}, None),
        (
            "OPTIONS",
            "/v1/todos",
            {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"},
            None,
        ),
        ("DELETE", path, {}, None),
        ("DELETE", path, {}, None),
    ]


VARIABLE = re.compile(
    rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[0-9:.]{15}Z|(erin|frank)(\|\d+)?|next_cursor\":\"[^\"]+"
)


def test_lambda_and_the_local_server_answer_alike(lambda_api: Api, local_api: Api) -> None:
    """Proves equality of status, header and body for one table of requests, by two users who own the like."""
    erin, frank = new_user("erin", lambda_api), new_user("frank", local_api)
    for one, other in zip(_requests(erin.todos[0]["id"]), _requests(frank.todos[0]["id"]), strict=True):
        answers = []
        for user, (method, path, headers, body) in ((erin, one), (frank, other)):
            answer = user(method, path, headers={"X-Request-Id": "the-same"} | headers, body=body)
            headers = {name: value for name, value in answer.headers.items() if name not in ("content-length", "etag")}
            answers.append((answer.status, headers, VARIABLE.sub(b"*", answer.body)))
        assert answers[0] == answers[1], one


SMOKE = [
    ("POST", "/v1/todos", JSON, b'{"title": "Smoke"}', 201),
    ("GET", "/v1/todos?limit=100&is_completed=false", {}, None, 200),
    ("GET", "/v1/todos?limit=1&limit=2", {}, None, 422),
    ("GET", "/v1/todos/{id}", {}, None, 200),
    ("PUT", "/v1/todos/{id}", JSON, b'{"title": "Smoked"}', 200),
    ("PATCH", "/v1/todos/{id}", JSON, b'{"description": "\xc3\xa4"}', 200),
    ("POST", "/v1/todos/{id}/toggle", {}, None, 200),
    ("POST", "/v1/todos/{id}", {}, None, 405),
    ("DELETE", "/v1/todos/{id}", {}, None, 204),
    ("GET", "/v1/todos/{id}", {}, None, 404),
    ("GET", "/health", {}, None, 200),
    ("GET", "/ready", {}, None, 200),
]


@pytest.mark.parametrize("form", [rest_api_event, function_url_event])
def test_rest_apis_and_function_urls_work_too(form: Any, carol: User) -> None:
    """Proves the life of a todo through payload 1.0 on a stage, and through a function URL."""
    todo_id = ""
    for method, path, headers, body, status in SMOKE:
        answer: Answer = invoke(form(method, path.format(id=todo_id), {"X-User-Id": carol.id, **headers}, body))
        assert answer.status == status, (method, path, answer)
        assert answer.headers["x-request-id"] == REQUEST_ID
        if status == 201:
            todo_id = answer.json()["id"]
    assert carol.list() == [carol.todos[1], carol.todos[0]]


def test_a_body_in_base64_is_the_same_body(carol: User) -> None:
    """Proves that the way API Gateway carries bytes does not matter."""
    headers = {"X-User-Id": carol.id, **JSON}
    event = http_api_event("POST", "/v1/todos", headers, '{"title": "Grüße"}'.encode(), base64=True)
    assert event["body"] == b64encode('{"title": "Grüße"}'.encode()).decode()
    answer = invoke(event)
    assert (answer.status, answer.json()["title"]) == (201, "Grüße")


def test_the_request_id_is_the_client_s_own_or_the_gateway_s(carol: User) -> None:
    """Proves where the id comes from, and that an odd one of a client is not taken over."""
    for offered, used in [
        ("my-own_1.id", "my-own_1.id"),
        ("x" * 128, "x" * 128),
        ("x" * 129, REQUEST_ID),
        ("a b", REQUEST_ID),
        ("ü", REQUEST_ID),
        ("", REQUEST_ID),
    ]:
        answer = carol("GET", "/v1/todos/nothing", headers={"X-Request-Id": offered})
        assert answer.headers["x-request-id"] == used
        assert answer.json()["request_id"] == used
