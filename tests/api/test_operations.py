"""What each operation does and returns, through the Lambda handler and through the local server."""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.documents.walk import new_caller
from tests.support.http.clients import Api
from tests.support.http.users import User

pytestmark = pytest.mark.pooled

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def _version(todo: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that change with every write."""
    return {"updated_at": todo["updated_at"], "etag": todo["etag"]}


@pytest.mark.smoke
def test_create_returns_the_whole_todo_and_its_location(alice: User) -> None:
    response = alice("POST", "/v1/todos", json={"title": "Buy milk"})
    todo = response.json()
    assert response.status == 201
    assert response.headers["location"] == f"/v1/todos/{todo['id']}"
    assert todo == {
        "id": str(UUID(todo["id"])),
        "user_id": alice.id,
        "title": "Buy milk",
        "description": None,
        "is_completed": False,
        "created_at": todo["created_at"],
        "updated_at": todo["created_at"],
        "etag": f'"{todo["created_at"]}"',
    }
    assert alice("GET", response.headers["location"]).json() == todo


# The tests' PostgreSQL runs in the time zone Asia/Kathmandu.
def test_times_are_utc_with_microseconds_in_any_server_time_zone(alice: User) -> None:
    todo = alice.create("On time")
    assert RFC3339.fullmatch(todo["created_at"])
    assert RFC3339.fullmatch(todo["updated_at"])
    created_at = datetime.fromisoformat(todo["created_at"])
    assert abs(created_at - datetime.now().astimezone()) < timedelta(seconds=60)


@pytest.mark.smoke
def test_list_returns_only_the_callers_todos_newest_first(alice: User, bob: User) -> None:
    third = alice.create("third")
    response = alice("GET", "/v1/todos")
    assert response.status == 200
    assert response.json() == {
        "items": [third, alice.todos[1], alice.todos[0]],
        "next_cursor": None,
    }
    assert alice.list("is_completed=true") == [alice.todos[1]]
    assert alice.list("is_completed=false") == [third, alice.todos[0]]
    assert bob.list() == [bob.todos[1], bob.todos[0]]
    assert bob.list("is_completed=true") == [bob.todos[1]]


def test_retrieve_accepts_the_id_in_upper_case_and_without_hyphens(alice: User) -> None:
    todo_id = alice.todos[0]["id"]
    # All are UUIDs (RFC 9562).
    for spelling in (todo_id, todo_id.upper(), todo_id.replace("-", "")):
        response = alice("GET", f"/v1/todos/{spelling}")
        assert (response.status, response.json()) == (200, alice.todos[0])


@pytest.mark.smoke
def test_replace_resets_omitted_fields_to_their_defaults(alice: User) -> None:
    response = alice("PUT", f"/v1/todos/{alice.todos[1]['id']}", json={"title": "Replaced"})
    todo = response.json()
    assert response.status == 200
    defaults = {"description": None, "is_completed": False}
    assert todo == alice.todos[1] | {"title": "Replaced"} | defaults | _version(todo)
    assert alice.list() == [todo, alice.todos[0]]


@pytest.mark.parametrize(
    "patch",
    [
        {},
        {"title": "Patched"},
        {"description": "Patched"},
        {"description": None},
        {"description": ""},
        {"is_completed": True},
        {"title": "Patched", "description": None, "is_completed": True},
    ],
)
def test_update_changes_only_the_given_fields_and_the_version(
    alice: User, patch: dict[str, object]
) -> None:
    """An empty object does not change the version either.

    The other tests send updates as `application/json`.
    """
    media_type = {"Content-Type": "application/merge-patch+json"}
    response = alice("PATCH", alice.first_path, json=patch, headers=media_type)
    todo = response.json()
    assert response.status == 200
    assert todo == alice.todos[0] | patch | (_version(todo) if patch else {})
    assert alice.list() == [alice.todos[1], todo]


def test_updated_at_grows_even_when_the_clock_is_behind(alice: User, sql: Any) -> None:
    todo_id = alice.todos[0]["id"]
    sql("UPDATE todos SET updated_at = '3026-01-01T00:00:00Z' WHERE id = %s", todo_id)
    for number in (1, 2):
        todo = alice("PATCH", f"/v1/todos/{todo_id}", json={"title": "changed"}).json()
        assert todo["updated_at"] == f"3026-01-01T00:00:00.00000{number}Z"


@pytest.mark.smoke
def test_delete_is_permanent(alice: User) -> None:
    path = alice.first_path
    response = alice("DELETE", path)
    assert (response.status, response.body) == (204, b"")
    assert [alice(method, path).status for method in ("GET", "DELETE")] == [404, 404]
    assert alice.list() == [alice.todos[1]]


@pytest.mark.smoke
def test_toggle_inverts_completion_each_time(alice: User) -> None:
    responses = [alice("POST", f"{alice.first_path}/toggle") for _ in range(3)]
    assert [response.status for response in responses] == [200] * 3
    assert [response.json()["is_completed"] for response in responses] == [True, False, True]
    last = responses[-1].json()
    assert last == alice.todos[0] | {"is_completed": True} | _version(last)
    assert alice.list() == [alice.todos[1], last]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("  \t\n Buy milk\u2003\u3000\u00a0 ", "Buy milk"),
        ("x" * 255, "x" * 255),
        ("  " + "x" * 255 + "  ", "x" * 255),
        ("🦆" * 255, "🦆" * 255),
        ("e\u0301\u200b\u7f00", "e\u0301\u200b\u7f00"),
        ("'; DROP TABLE todos; -- %s %(a)s \\", "'; DROP TABLE todos; -- %s %(a)s \\"),
    ],
)
def test_titles_are_trimmed_and_counted_in_code_points(alice: User, sent: str, kept: str) -> None:
    assert alice.create(sent)["title"] == kept


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("", ""),
        ("Line 1\n\tLine 2", "Line 1\n\tLine 2"),
        ("  spaces stay \n", "  spaces stay \n"),
        ("a\r\nb", "a\nb"),
        ("\r\n" * 2000, "\n" * 2000),
    ],
)
def test_descriptions_are_not_trimmed_and_crlf_becomes_lf(
    alice: User, sent: str, kept: str
) -> None:
    assert alice.create("x", description=sent)["description"] == kept


def test_only_a_create_stores_a_todo_and_the_user_and_the_user_only_once(
    alice: User, sql: Any
) -> None:
    count = "SELECT count(*) FROM users WHERE id = %s"
    user = User(f"new-{alice.id}", alice.api, [])
    for method in ("PUT", "PATCH"):
        assert user(method, f"/v1/todos/{uuid4()}", json={"title": "x"}).status == 404
    response = user("GET", "/v1/todos")
    assert (response.status, response.json()) == (200, {"items": [], "next_cursor": None})
    assert sql(count, user.id) == [(0,)]
    first = user.create("equal")
    second = user.create("equal")
    assert user.list() == [second, first]
    assert sql(count, user.id) == [(1,)]
    assert sql(count, alice.id) == [(1,)]


def test_head_equals_get_for_every_operation_with_each_option(either_api: Api) -> None:
    caller = new_caller("alice", either_api)
    for operation in caller.operations:
        if operation.method != "GET":
            continue
        for request in caller.requests(operation):
            get = caller.send(request)
            head = caller.send(replace(request, operation=replace(operation, method="HEAD")))
            assert (head.status, head.body) == (get.status, b""), request.name
            assert head.without_request_id().headers == get.without_request_id().headers


@pytest.mark.smoke
@pytest.mark.parametrize(("path", "status"), [("/health", "ok"), ("/ready", "ready")])
def test_health_and_ready_return_200_without_a_user(
    either_api: Api, path: str, status: str
) -> None:
    response = either_api("GET", path)
    assert (response.status, response.json()) == (200, {"status": status})


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/todos?limit=0", {}, 422),
        ("/v1/todos", {"X-User-Id": ""}, 401),
        ("/v1/todos/{id}/toggle", {}, 405),
        ("/openapi.json", {}, 200),
        ("/nowhere", {}, 404),
    ],
)
def test_head_equals_get_without_the_body(
    alice: User, path: str, headers: dict[str, str], status: int
) -> None:
    path = path.format(id=alice.todos[0]["id"])
    headers = {"X-Request-Id": "the-same", **headers}
    get = alice("GET", path, headers=headers)
    head = alice("HEAD", path, headers=headers)
    assert (head.status, head.body) == (status, b"")
    assert (get.status, get.headers) == (head.status, head.headers)
    assert alice.list() == [alice.todos[1], alice.todos[0]]
