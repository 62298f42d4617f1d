"""Preconditions (RFC 9110, section 13): ETags, `If-Match` on writes, `If-None-Match` on reads."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from tests.support.http.assertions import assert_problem
from tests.support.http.clients import Api, Response
from tests.support.http.users import User, new_user

OTHER = '"2026-11-20T09:30:00.123456Z"'
"""A valid ETag of this API that no todo in these tests has."""

WRITES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "replace": ("PUT", "", {"json": {"title": "changed"}}),
    "update": ("PATCH", "", {"json": {"title": "changed"}}),
    "empty update": ("PATCH", "", {"json": {}}),
    "toggle": ("POST", "/toggle", {}),
    "delete": ("DELETE", "", {}),
}
"""The writes to one todo; the last deletes it."""

CHANGES = [operation for operation in WRITES if operation != "empty update"]


def _send(user: User, operation: str, todo: dict[str, Any], headers: dict[str, str]) -> Response:
    method, suffix, request = WRITES[operation]
    return user(method, f"/v1/todos/{todo['id']}{suffix}", headers=headers, **request)


@pytest.mark.smoke
def test_etag_of_every_response_with_one_todo_grows_with_every_write_even_of_equal_values(
    alice: User,
) -> None:
    created = alice("POST", "/v1/todos", json={"title": "tagged"})
    path = f"/v1/todos/{created.json()['id']}"
    assert alice("GET", path).headers["etag"] == created.headers["etag"]
    assert alice("PATCH", path, json={}).headers["etag"] == created.headers["etag"]
    responses = [
        created,
        alice("PUT", path, json={"title": "tagged"}),
        alice("PATCH", path, json={"title": "tagged"}),
        alice("POST", f"{path}/toggle"),
    ]
    tags = [response.headers["etag"] for response in responses]
    assert tags == [f'"{response.json()["updated_at"]}"' for response in responses]
    assert tags == sorted(set(tags))
    assert alice("GET", path).headers["etag"] == tags[-1]
    assert [response.json()["etag"] for response in responses] == tags
    assert alice.list()[0]["etag"] == tags[-1]
    assert "etag" not in alice("GET", "/v1/todos").headers
    assert "etag" not in alice("DELETE", path).headers


@pytest.mark.parametrize(
    "value", ["{tag}", "*", " * ", f"{OTHER}, {{tag}}", ', "a,b" ,\t{tag},,', f"W/{OTHER},{{tag}}"]
)
def test_write_succeeds_when_if_match_contains_the_current_etag(alice: User, value: str) -> None:
    todo = alice.todos[0]
    for operation in WRITES:
        response = _send(alice, operation, todo, {"If-Match": value.format(tag=todo["etag"])})
        if operation == "delete":
            assert response.status == 204
            assert alice.list() == [alice.todos[1]]
        else:
            assert response.status == 200
            assert (response.json()["etag"] == todo["etag"]) is (operation == "empty update")
            todo = response.json()
            assert alice.list() == [alice.todos[1], todo]


NON_MATCHING = [
    *(OTHER, '"other"', '""', '"ü"', '"{version}x"', '"*"', '"1795167000123456"', '"2026-11-20"'),
    # Times in other formats.
    *(
        '"{local_time}"',
        '"{offset}"',
        '"0001-01-01T00:00:00.000000+23:59"',
        '"9999-12-31T23:59:59.999999-23:59"',
    ),
    # Malformed headers.
    *('"{version}', "{version}", ",", '*, "other"', "'{version}'"),
    *("w/{tag}", "x{tag}y", '"a"{tag}', '{tag} "a"'),
]


def _fill(value: str, tag: str) -> str:
    """Replace the placeholders in `value` by an ETag or its version, in several formats."""
    version = tag.strip('"')
    others = {"local_time": version.removesuffix("Z"), "offset": version.replace("Z", "+00:00")}
    return value.format(tag=tag, version=version, **others)


@pytest.mark.parametrize(
    "value", [*NON_MATCHING, "W/{tag}", pytest.param("{older}", marks=pytest.mark.smoke)]
)
def test_write_fails_with_412_when_if_match_does_not_contain_the_current_etag(
    alice: User, value: str
) -> None:
    current = alice("PATCH", alice.first_path, json={"title": "meanwhile"}).json()
    if_match = alice.todos[0]["etag"] if value == "{older}" else _fill(value, current["etag"])
    for operation in WRITES:
        response = _send(alice, operation, current, {"If-Match": if_match})
        assert assert_problem(response, 412)["type"] == "urn:todo-api:problem:precondition-failed"
        assert alice.list() == [alice.todos[1], current]


@pytest.mark.parametrize("value", ["{tag}", "*", "not a tag"])
def test_if_none_match_is_ignored_on_writes(alice: User, value: str) -> None:
    headers = {"If-None-Match": value.format(tag=alice.todos[0]["etag"])}
    assert [_send(alice, operation, alice.todos[0], headers).status for operation in WRITES] == [
        200
    ] * 4 + [204]


@pytest.mark.parametrize("value", ["{tag}", "W/{tag}", f"{OTHER}, W/{{tag}}", "*"])
def test_matching_if_none_match_returns_304_without_a_body(alice: User, value: str) -> None:
    path = alice.first_path
    tag = alice.todos[0]["etag"]
    response = alice("GET", path, headers={"If-None-Match": value.format(tag=tag)})
    assert (response.status, response.body, response.headers["etag"]) == (304, b"", tag)
    assert response.headers["cache-control"] == "private, no-cache"


@pytest.mark.smoke
def test_other_if_none_match_returns_the_todo(alice: User) -> None:
    path = alice.first_path
    tag = alice.todos[0]["etag"]
    for value in NON_MATCHING:
        response = alice("GET", path, headers={"If-None-Match": _fill(value, tag)})
        assert (response.status, response.json()) == (200, alice.todos[0]), value
    changed = alice("POST", f"{path}/toggle")
    response = alice("GET", path, headers={"If-None-Match": tag})
    assert (response.status, response.json()) == (200, changed.json())
    assert response.headers["etag"] == changed.headers["etag"]


def test_if_match_is_ignored_on_reads(alice: User) -> None:
    path = alice.first_path
    if_none_match = {"If-None-Match": alice.todos[0]["etag"]}
    for value in (OTHER, "*", "not a tag"):
        assert alice("GET", path, headers={"If-Match": value}).json() == alice.todos[0]
        assert alice("GET", path, headers={"If-Match": value} | if_none_match).status == 304


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize("value", ["*", OTHER])
def test_missing_todo_returns_404_with_any_precondition(
    alice: User, bob: User, name: str, value: str
) -> None:
    for todo in ({"id": str(uuid4())}, bob.todos[0]):
        for operation in WRITES:
            assert_problem(_send(alice, operation, todo, {name: value}), 404)
        assert_problem(alice("GET", f"/v1/todos/{todo['id']}", headers={name: value}), 404)
    assert bob.list() == [bob.todos[1], bob.todos[0]]


def test_list_and_create_ignore_preconditions(alice: User) -> None:
    headers = {"If-Match": OTHER, "If-None-Match": "*"}
    assert alice("GET", "/v1/todos", headers=headers).status == 200
    assert alice("POST", "/v1/todos", headers=headers, json={"title": "x"}).status == 201


@pytest.mark.pooled
@pytest.mark.parametrize("operation", CHANGES)
def test_write_compares_the_version_after_waiting_for_the_row_lock(
    local_api: Api, database: str, sql: Any, operation: str
) -> None:
    user = new_user("dave", local_api)
    todo = user.todos[0]
    blocked = (
        "SELECT 1 FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND %s = ANY(pg_blocking_pids(pid))"
    )
    with (
        closing(psycopg2.connect(database)) as other,
        other.cursor() as cursor,
        ThreadPoolExecutor(1) as executor,
    ):
        cursor.execute(
            "UPDATE todos SET title = 'meanwhile', updated_at = now() WHERE id = %s", (todo["id"],)
        )
        waiting = executor.submit(_send, user, operation, todo, {"If-Match": todo["etag"]})
        deadline = time.monotonic() + 5
        while not sql(blocked, other.info.backend_pid):
            assert time.monotonic() < deadline
        assert not waiting.done()
        other.commit()
        assert waiting.result().status == 412
    assert user.list()[1]["title"] == "meanwhile"


@pytest.mark.pooled
@pytest.mark.parametrize("operation", CHANGES)
def test_only_one_of_20_concurrent_writes_with_the_same_etag_succeeds(
    local_api: Api, operation: str, *, soak: bool
) -> None:
    user = new_user("dave", local_api)
    succeeded, failed = (204, 404) if operation == "delete" else (200, 412)
    for _ in range(50 if soak else 3):
        todo = user.create("contended")
        write = partial(_send, user, operation, todo, {"If-Match": todo["etag"]})
        with ThreadPoolExecutor(20) as executor:
            responses = [future.result() for future in [executor.submit(write) for _ in range(20)]]
        assert sorted(response.status for response in responses) == [succeeded] + [failed] * 19
        if operation != "delete":
            (won,) = [response.json() for response in responses if response.status == 200]
            assert user("GET", f"/v1/todos/{todo['id']}").json() == won
