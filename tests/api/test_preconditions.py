"""Lost updates: entity tags, `If-Match` on writes, and `If-None-Match` on reads (RFC 9110, section 13)."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from tests.support.assertions import assert_problem
from tests.support.clients import Api, Response
from tests.support.users import User, new_user

pytestmark = pytest.mark.pooled

OTHER = '"2026-11-20T09:30:00.123456Z"'
"""A tag of this API that no todo of these tests has."""

WRITES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "replace": ("PUT", "", {"json": {"title": "changed"}}),
    "update": ("PATCH", "", {"json": {"title": "changed"}}),
    "update, naming nothing": ("PATCH", "", {"json": {}}),
    "toggle": ("POST", "/toggle", {}),
    "delete": ("DELETE", "", {}),
}


def _send(user: User, operation: str, todo: dict[str, Any], **headers: str) -> Response:
    method, suffix, arguments = WRITES[operation]
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return user(method, f"/v1/todos/{todo['id']}{suffix}", headers=fields, **arguments)


def test_every_answer_with_one_todo_carries_the_tag_of_its_version(alice: User) -> None:
    """Proves that the tag is strong, the same in headers, bodies and lists, and new with each change."""
    created = alice("POST", "/v1/todos", json={"title": "tagged"})
    path = f"/v1/todos/{created.json()['id']}"
    assert alice("GET", path).headers["etag"] == created.headers["etag"]
    assert alice("PATCH", path, json={}).headers["etag"] == created.headers["etag"]
    answers = [
        created,
        alice("PUT", path, json={"title": "tagged"}),
        alice("PATCH", path, json={"title": "tagged"}),
        alice("POST", f"{path}/toggle"),
    ]
    tags = [answer.headers["etag"] for answer in answers]
    assert len(set(tags)) == len(tags)
    assert all(tag.startswith('"') and tag.endswith('"') for tag in tags)
    assert alice("GET", path).headers["etag"] == tags[-1]
    assert [answer.json()["etag"] for answer in answers] == tags
    assert alice.list()[0]["etag"] == tags[-1]
    assert "etag" not in alice("GET", "/v1/todos").headers
    assert "etag" not in alice("DELETE", path).headers


@pytest.mark.parametrize("operation", WRITES)
@pytest.mark.parametrize(
    "value", ["{tag}", "*", " * ", f"{OTHER}, {{tag}}", ', "a,b" ,\t{tag},,', f"W/{OTHER},{{tag}}"]
)
def test_a_write_goes_on_when_if_match_names_the_version(carol: User, operation: str, value: str) -> None:
    """Proves one tag, lists of them with empty elements and commas inside, and `*`."""
    tag = carol.todos[0]["etag"]
    answer = _send(carol, operation, carol.todos[0], If_Match=value.format(tag=tag))
    assert answer.status == (204 if operation == "delete" else 200)
    after = [todo for todo in carol.list() if todo["id"] == carol.todos[0]["id"]]
    assert after == ([] if operation == "delete" else [answer.json()])
    assert (answer.headers.get("etag") == tag) is (operation == "update, naming nothing")


FOREIGN_TAGS = [
    '"other"',
    '""',
    '"ü"',
    '"{version}x"',
    '"{version}',
    "{version}",
    "W/{tag}",
    '"*"',
    ",",
    '*, "other"',
    "'{version}'",
    '"{local_time}"',
    '"{offset}"',
    '"0001-01-01T00:00:00.000000+23:59"',
    '"9999-12-31T23:59:59.999999-23:59"',
    '"1795167000123456"',
    '"2026-11-20"',
]
"""What names no version: tags of others, other spellings of the version, weak tags, and what is no tag at all."""


@pytest.mark.parametrize("operation", WRITES)
@pytest.mark.parametrize("value", [OTHER, *FOREIGN_TAGS])
def test_a_write_is_refused_when_if_match_does_not_name_the_version(carol: User, operation: str, value: str) -> None:
    """Proves 412 for other, weak, foreign and malformed tags, and that nothing changes."""
    tag = carol.todos[0]["etag"]
    answer = _send(carol, operation, carol.todos[0], If_Match=_written(value, tag))
    problem = assert_problem(answer, 412)
    assert problem["type"] == "urn:todo-api:problem:precondition-failed"
    assert carol.list() == [carol.todos[1], carol.todos[0]]


def _written(value: str, tag: str) -> str:
    version = tag.strip('"')
    others = {"local_time": version.removesuffix("Z"), "offset": version.replace("Z", "+00:00")}
    return value.format(tag=tag, version=version, **others)


@pytest.mark.parametrize("operation", WRITES)
def test_a_stale_tag_loses(alice: User, operation: str) -> None:
    """Proves the point of it all: what somebody else has changed meanwhile is not overwritten."""
    stale = alice.todos[0]["etag"]
    changed = alice("PATCH", f"/v1/todos/{alice.todos[0]['id']}", json={"title": "meanwhile"}).json()
    assert _send(alice, operation, alice.todos[0], If_Match=stale).status == 412
    assert alice.list() == [alice.todos[1], changed]
    assert _send(alice, operation, alice.todos[0], If_Match=changed["etag"]).status in (200, 204)


@pytest.mark.parametrize("operation", WRITES)
def test_if_none_match_means_nothing_on_writes(alice: User, operation: str) -> None:
    """Proves that the header is not read there, whatever it says."""
    for value in (alice.todos[0]["etag"], "*", "not a tag"):
        todo = alice.create("written")
        assert _send(alice, operation, todo, If_None_Match=value).status in (200, 204)


@pytest.mark.parametrize("value", ["{tag}", "W/{tag}", f"{OTHER}, W/{{tag}}", "*"])
def test_a_version_that_the_caller_has_is_not_sent_again(alice: User, value: str) -> None:
    """Proves 304 with the tag and no body."""
    path = f"/v1/todos/{alice.todos[0]['id']}"
    tag = alice.todos[0]["etag"]
    answer = alice("GET", path, headers={"If-None-Match": value.format(tag=tag)})
    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
    assert answer.headers["cache-control"] == "private, no-cache"


def test_a_version_that_the_caller_does_not_have_is_sent(alice: User) -> None:
    """Proves 200 for other tags, and for the old one after a change."""
    path = f"/v1/todos/{alice.todos[0]['id']}"
    tag = alice.todos[0]["etag"]
    for value in (OTHER, *FOREIGN_TAGS):
        if value != "W/{tag}":  # which matches here, because the comparison is weak
            answer = alice("GET", path, headers={"If-None-Match": _written(value, tag)})
            assert (answer.status, answer.json()) == (200, alice.todos[0]), value
    changed = alice("POST", f"{path}/toggle")
    answer = alice("GET", path, headers={"If-None-Match": tag})
    assert (answer.status, answer.json(), answer.headers["etag"]) == (200, changed.json(), changed.headers["etag"])


def test_if_match_means_nothing_on_reading(alice: User) -> None:
    """Proves that the header is not read there, whatever it says."""
    path = f"/v1/todos/{alice.todos[0]['id']}"
    for value in (OTHER, "*", "not a tag"):
        assert alice("GET", path, headers={"If-Match": value}).json() == alice.todos[0]
        assert alice("GET", path, headers={"If-Match": value, "If-None-Match": alice.todos[0]["etag"]}).status == 304


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize("value", ["*", OTHER])
def test_a_missing_todo_is_missing_whatever_the_precondition(alice: User, bob: User, name: str, value: str) -> None:
    """Proves that 404 comes before 412 (section 13.2.1), for nobody's and for another user's todo."""
    for todo in ({"id": str(uuid4())}, bob.todos[0]):
        for operation in WRITES:
            assert_problem(_send(alice, operation, todo, **{name.replace("-", "_"): value}), 404)
        assert_problem(alice("GET", f"/v1/todos/{todo['id']}", headers={name: value}), 404)
    assert bob.list() == [bob.todos[1], bob.todos[0]]


def test_the_list_and_create_have_no_version_to_compare(alice: User) -> None:
    """Proves that preconditions are for single todos only."""
    headers = {"If-Match": OTHER, "If-None-Match": "*"}
    assert alice("GET", "/v1/todos", headers=headers).status == 200
    assert alice("POST", "/v1/todos", headers=headers, json={"title": "x"}).status == 201


@pytest.mark.parametrize("operation", [operation for operation in WRITES if operation != "update, naming nothing"])
def test_a_write_that_waited_for_another_sees_what_that_one_has_made(
    local_api: Api, database: str, operation: str
) -> None:
    """Proves that the version is compared after the wait for the row, and not before it."""
    user = new_user("waiter", local_api)
    todo = user.todos[0]
    other = psycopg2.connect(database)
    with other.cursor() as cursor, ThreadPoolExecutor(1) as executor:
        cursor.execute("UPDATE todos SET title = 'meanwhile', updated_at = now() WHERE id = %s", (todo["id"],))
        waiting = executor.submit(_send, user, operation, todo, If_Match=todo["etag"])
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            cursor.execute(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND %s = ANY(pg_blocking_pids(pid))",
                (other.info.backend_pid,),
            )
            if cursor.fetchall():
                break
        assert not waiting.done()
        other.commit()
        assert waiting.result().status == 412
    other.close()
    assert user.list()[1]["title"] == "meanwhile"


@pytest.mark.parametrize("operation", WRITES)
def test_of_twenty_writers_with_one_tag_exactly_one_wins(local_api: Api, operation: str) -> None:
    """Proves that the comparison and the change are one, in rounds of 20 requests at once."""
    user = new_user("writer", local_api)
    for _ in range(5):
        todo = user.create("contended")
        write = partial(_send, user, operation, todo, If_Match=todo["etag"])
        with ThreadPoolExecutor(20) as executor:
            answers = [future.result() for future in [executor.submit(write) for _ in range(20)]]
        statuses = sorted(answer.status for answer in answers)
        if operation == "delete":
            assert statuses == [204] + [404] * 19
        elif operation == "update, naming nothing":
            assert statuses == [200] * 20
        else:
            assert statuses == [200] + [412] * 19
            (won,) = [answer.json() for answer in answers if answer.status == 200]
            assert user("GET", f"/v1/todos/{todo['id']}").json() == won
