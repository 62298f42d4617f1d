"""What each operation does and answers, through API Gateway's events and through the local server."""

import re
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.support.clients import Api, Response
from tests.support.users import User

pytestmark = pytest.mark.pooled

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def test_create_answers_with_the_whole_todo_and_its_place(alice: User) -> None:
    """Proves 201, `Location` and every field of a new todo."""
    answer = alice("POST", "/v1/todos", json={"title": "Buy milk"})
    todo = answer.json()
    assert answer.status == 201
    assert answer.headers["location"] == f"/v1/todos/{todo['id']}"
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
    assert alice("GET", answer.headers["location"]).json() == todo


def test_create_takes_every_field_that_a_client_decides(alice: User) -> None:
    """Proves that description and completion are kept as sent."""
    todo = alice.create("Read", description="Line 1\n\tLine 2", is_completed=True)
    assert (todo["description"], todo["is_completed"]) == ("Line 1\n\tLine 2", True)


def test_times_are_utc_with_six_digits_whatever_the_server_s_zone(alice: User) -> None:
    """Proves the form of times, on a PostgreSQL that lives in Kathmandu."""
    todo = alice.create("On time")
    assert RFC3339.fullmatch(todo["created_at"])
    assert RFC3339.fullmatch(todo["updated_at"])
    assert abs(datetime.fromisoformat(todo["created_at"]).timestamp() - datetime.now().astimezone().timestamp()) < 60


def test_list_holds_exactly_the_caller_s_todos_newest_first(alice: User, bob: User) -> None:
    """Proves the list's order and its scope, with rows of two users in the table."""
    third = alice.create("third")
    answer = alice("GET", "/v1/todos")
    assert answer.status == 200
    assert answer.json() == {"items": [third, alice.todos[1], alice.todos[0]], "next_cursor": None}
    assert bob.list() == [bob.todos[1], bob.todos[0]]


def test_list_can_be_filtered_by_completion(alice: User, bob: User) -> None:
    """Proves both values of the filter."""
    assert alice.list("is_completed=true") == [alice.todos[1]]
    assert alice.list("is_completed=false") == [alice.todos[0]]
    assert bob.list("is_completed=true") == [bob.todos[1]]


def test_list_of_a_user_who_never_wrote_is_empty(either_api: Api, alice: User) -> None:
    """Proves that reading needs no row in users, and does not show others' todos."""
    answer = either_api("GET", "/v1/todos", user=f"not-{alice.id}")
    assert (answer.status, answer.json()) == (200, {"items": [], "next_cursor": None})


def test_retrieve_answers_with_the_todo(alice: User) -> None:
    """Proves 200 and the same representation as on creation; the spelling of the id is UUID's own (RFC 9562)."""
    for path in (alice.todos[0]["id"], alice.todos[0]["id"].upper(), alice.todos[0]["id"].replace("-", "")):
        answer = alice("GET", f"/v1/todos/{path}")
        assert (answer.status, answer.json()) == (200, alice.todos[0])


def test_replace_returns_omitted_fields_to_their_defaults(alice: User) -> None:
    """Proves PUT, and that only the named todo changes."""
    answer = alice("PUT", f"/v1/todos/{alice.todos[1]['id']}", json={"title": "Replaced"})
    todo = answer.json()
    assert answer.status == 200
    assert todo == alice.todos[1] | {
        "title": "Replaced",
        "description": None,
        "is_completed": False,
        "updated_at": todo["updated_at"],
        "etag": todo["etag"],
    }
    assert alice.list() == [todo, alice.todos[0]]


@pytest.mark.parametrize("media_type", ["application/json", "application/merge-patch+json"])
@pytest.mark.parametrize(
    "patch",
    [
        {"title": "Patched"},
        {"description": "Patched"},
        {"description": None},
        {"description": ""},
        {"is_completed": True},
        {"title": "Patched", "description": None, "is_completed": True},
    ],
)
def test_update_changes_the_named_fields_only(alice: User, patch: dict[str, object], media_type: str) -> None:
    """Proves PATCH as a merge patch, with null and the empty string told apart."""
    path = f"/v1/todos/{alice.todos[0]['id']}"
    answer = alice("PATCH", path, json=patch, headers={"Content-Type": media_type})
    todo = answer.json()
    assert answer.status == 200
    assert todo == alice.todos[0] | patch | {"updated_at": todo["updated_at"], "etag": todo["etag"]}
    assert alice.list() == [alice.todos[1], todo]


def test_update_that_names_nothing_changes_nothing(alice: User) -> None:
    """Proves that `{}` leaves even `updated_at` alone."""
    answer = alice("PATCH", f"/v1/todos/{alice.todos[0]['id']}", json={})
    assert (answer.status, answer.json()) == (200, alice.todos[0])
    assert alice.list() == [alice.todos[1], alice.todos[0]]


def test_naming_a_field_is_a_change_even_with_an_equal_value(alice: User) -> None:
    """Proves that `updated_at` grows strictly with every change, and `created_at` never."""
    seen = [alice.todos[0]]
    path = f"/v1/todos/{seen[0]['id']}"
    for method, json in [("PATCH", {"title": seen[0]["title"]}), ("PUT", {"title": seen[0]["title"]})] * 3:
        seen.append(alice(method, path, json=json).json())
    seen.append(alice("POST", f"{path}/toggle").json())
    updates = [todo["updated_at"] for todo in seen]
    assert updates == sorted(set(updates))
    assert {todo["created_at"] for todo in seen} == {seen[0]["created_at"]}


def test_updated_at_grows_even_when_the_clock_does_not(alice: User, sql: Any) -> None:
    """Proves it for a todo that was changed by a server whose clock was a thousand years ahead."""
    todo_id = alice.todos[0]["id"]
    sql("UPDATE todos SET updated_at = '3026-01-01T00:00:00Z' WHERE id = %s", todo_id)
    for number in (1, 2):
        todo = alice("PATCH", f"/v1/todos/{todo_id}", json={"title": "changed"}).json()
        assert todo["updated_at"] == f"3026-01-01T00:00:00.00000{number}Z"


def test_delete_is_permanent(alice: User) -> None:
    """Proves 204 without a body, and that the todo is gone from everywhere."""
    path = f"/v1/todos/{alice.todos[0]['id']}"
    answer = alice("DELETE", path)
    assert (answer.status, answer.body) == (204, b"")
    assert [alice(method, path).status for method in ("GET", "DELETE")] == [404, 404]
    assert alice.list() == [alice.todos[1]]


def test_toggle_flips_there_and_back(alice: User) -> None:
    """Proves toggle in both directions, on the named todo only."""
    path = f"/v1/todos/{alice.todos[0]['id']}/toggle"
    answers = [alice("POST", path) for _ in range(3)]
    assert [(answer.status, answer.json()["is_completed"]) for answer in answers] == [
        (200, True),
        (200, False),
        (200, True),
    ]
    last = answers[-1].json()
    assert last == alice.todos[0] | {"is_completed": True, "updated_at": last["updated_at"], "etag": last["etag"]}
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
    """Proves what becomes of a title on its way in and out."""
    assert alice.create(sent)["title"] == kept


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("", ""), ("  spaces stay \n", "  spaces stay \n"), ("a\r\nb", "a\nb"), ("\r\n" * 2000, "\n" * 2000)],
)
def test_descriptions_keep_their_form_but_for_line_ends(alice: User, sent: str, kept: str) -> None:
    """Proves that a description is not trimmed, and CRLF is stored and counted as LF."""
    assert alice.create("x", description=sent)["description"] == kept


def test_the_first_write_of_a_user_records_the_user(alice: User, sql: Any) -> None:
    """Proves that users are recorded once, by creating, and not by reading or failing."""
    stranger = f"stranger-{alice.id}"
    alice.api("GET", "/v1/todos", user=stranger)
    alice.api("PATCH", f"/v1/todos/{uuid4()}", user=stranger, json={"title": "x"})
    assert _users(sql, stranger) == 0
    for _ in range(2):
        alice.api("POST", "/v1/todos", user=stranger, json={"title": "x"})
    assert _users(sql, stranger) == 1
    assert _users(sql, alice.id) == 1


def _users(sql: Any, user_id: str) -> int:
    return int(sql("SELECT count(*) FROM users WHERE id = %s", user_id)[0][0])


def test_put_and_patch_never_create(alice: User) -> None:
    """Proves that writing to an id that nobody has leaves nothing behind."""
    for method in ("PUT", "PATCH"):
        assert alice(method, f"/v1/todos/{uuid4()}", json={"title": "x"}).status == 404
    assert alice.list() == [alice.todos[1], alice.todos[0]]


def test_health_answers(either_api: Api) -> None:
    """Proves /health, which needs neither a user nor a database."""
    answer = either_api("GET", "/health")
    assert (answer.status, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/todos", {}, 200),
        ("/v1/todos?limit=1", {}, 200),
        ("/v1/todos?limit=0", {}, 422),
        ("/v1/todos", {"X-User-Id": ""}, 401),
        ("/v1/todos/{id}", {}, 200),
        ("/v1/todos/{id}", {"If-None-Match": "*"}, 304),
        ("/v1/todos/00000000-0000-4000-8000-000000000000", {}, 404),
        ("/v1/todos/{id}/toggle", {}, 405),
        ("/health", {}, 200),
        ("/ready", {}, 200),
        ("/openapi.json", {}, 200),
        ("/nowhere", {}, 404),
    ],
)
def test_head_is_get_without_the_body(alice: User, path: str, headers: dict[str, str], status: int) -> None:
    """Proves that `HEAD` has the status and headers of `GET` wherever that is answered (RFC 9110, 9.3.2)."""
    path, headers = path.format(id=alice.todos[0]["id"]), {"X-Request-Id": "the-same", **headers}
    get, head = alice("GET", path, headers=headers), alice("HEAD", path, headers=headers)
    assert (head.status, head.body) == (status, b"")
    assert (get.status, get.headers) == (head.status, head.headers)
    assert alice.list() == [alice.todos[1], alice.todos[0]]


def test_ready_answers_when_the_database_is_migrated(either_api: Api) -> None:
    """Proves /ready against a database that has what the code needs."""
    answer = either_api("GET", "/ready")
    assert (answer.status, answer.json()) == (200, {"status": "ready"})


@pytest.mark.parametrize(
    "path", ["/v1/todos", "/v1/todos/{id}", "/v1/todos/{id}/toggle", "/health", "/ready", "/nowhere"]
)
def test_every_answer_carries_the_common_headers(alice: User, path: str) -> None:
    """Proves the headers of successes and errors alike."""
    answers: list[Response] = [
        alice(method, path.format(id=alice.todos[0]["id"])) for method in ("GET", "POST", "DELETE", "PATCH")
    ]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "private, no-cache"
        assert answer.headers["x-request-id"]
