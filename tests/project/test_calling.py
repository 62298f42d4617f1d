"""docs/calling.md: its commands respond as shown, and docs/client.ts works as described."""

import json
from datetime import datetime
from uuid import UUID

import pytest

from tests.support.documents.calling import BLOCKS, PAGE, PROBLEM, TypeScriptModule
from tests.support.documents.pages import relay, run_commands, shown
from tests.support.http.clients import Api
from tests.support.http.users import User
from todo_api.models.page import Cursor


@pytest.mark.curl
def test_each_command_responds_as_shown(local_api: Api) -> None:
    for todo in local_api("GET", "/v1/todos?limit=100", user="ada").json()["items"]:
        local_api("DELETE", f"/v1/todos/{todo['id']}", user="ada")  # of another test
    with relay(local_api) as server:
        assert run_commands(PAGE, server.url) == 11
    assert {language for language, _ in BLOCKS} == {"sh", "http", "js"}


def test_the_cursor_that_is_shown_is_the_position_of_the_item_before_it() -> None:
    (page,) = [shown(text).body for language, text in BLOCKS if '"next_cursor":"' in text]
    (created,) = [text for _, text in BLOCKS if "idempotency-replayed" in text]
    response = shown(created)
    todo = json.loads(response.body.replace("…".encode(), b'"":""'))
    cursor = json.loads(page.replace("…".encode(), b'"":""'))["next_cursor"]
    created_at = datetime.fromisoformat(response.headers["etag"].strip('"'))
    assert Cursor.parse(cursor) == Cursor(created_at, UUID(todo["id"]))


@pytest.mark.node
def test_error_response_is_thrown_as_problem_and_not_retried(
    module: TypeScriptModule, dora: User
) -> None:
    script = """
        const error = await thrown(page.create("k", { title: " ", description: "x".repeat(2001) }));
        const refused = page.outcome(error);
        const { status, type, errors, requestId } = error;
        return [error instanceof page.Problem, status, type, errors, requestId, refused];
    """
    found, server = module.run(dora, script)
    (exchange,) = server.exchanges
    body = exchange.response.json()
    assert found == [
        True,
        422,
        f"{PROBLEM}invalid-request",
        body["errors"],
        body["request_id"],
        "refused",
    ]
    assert [error["field"] for error in body["errors"]] == ["title", "description"]
    assert exchange.response.headers["x-request-id"] == body["request_id"]


@pytest.mark.node
def test_two_concurrent_creates_with_one_key_create_one_todo(
    module: TypeScriptModule, dora: User
) -> None:
    script = """
        const draft = { title: "once", is_completed: true };
        return Promise.all([1, 2].map(() => page.create("form-1", draft)));
    """
    (first, second), server = module.run(dora, script)
    assert server.seen("Idempotency-Key") == [("POST", "/v1/todos", 201, "form-1")] * 2
    assert dora.list() == [first] == [second]


@pytest.mark.node
def test_iterator_returns_each_matching_todo_once_and_in_order(
    module: TypeScriptModule, dora: User
) -> None:
    created = [
        dora.create(f"number {number}", is_completed=number % 2 == 0) for number in range(5)
    ][::-1]
    script = """
        const all = [], open = [];
        for await (const todo of page.todos({ limit: "2" })) all.push(todo);
        for await (const todo of page.todos({ limit: "1", is_completed: "false" })) open.push(todo);
        for await (const todo of page.todos()) { open.push(todo); break; }
        return [all, open];
    """
    (everything, some), server = module.run(dora, script)
    assert everything == created
    assert some == [created[1], created[3], created[0]]
    paths = [exchange.path for exchange in server.exchanges]
    assert [path.partition("&cursor=")[0] for path in paths] == [
        *["/v1/todos?limit=2"] * 3,
        *["/v1/todos?limit=1&is_completed=false"] * 2,
        "/v1/todos?limit=100",
    ]
    assert ["cursor" in path for path in paths] == [False, True, True, False, True, False]


@pytest.mark.node
def test_edit_keeps_a_concurrent_change_of_somebody_else(
    module: TypeScriptModule, dora: User
) -> None:
    path = f"/v1/todos/{dora.create('shared', description='Milk')['id']}"
    script = f"""
        const seen = await page.read({path!r}.split("/").pop());
        await page.send("PATCH", {path!r}, {{}}, {{ title: "theirs", description: "Milk, eggs" }});
        return page.edit(seen, (todo) => ({{ description: todo.description + ", bread" }}));
    """
    found, server = module.run(dora, script)
    first, theirs, _, second, mine = [
        exchange.response.headers.get("etag") for exchange in server.exchanges
    ]
    assert server.seen("If-Match") == [
        ("GET", path, 200, None),
        ("PATCH", path, 200, None),
        ("PATCH", path, 412, first),
        ("GET", path, 200, None),
        ("PATCH", path, 200, theirs),
    ]
    assert (second, found, found["etag"]) == (theirs, dora.list()[0], mine)
    assert (found["title"], found["description"]) == ("theirs", "Milk, eggs, bread")


@pytest.mark.node
def test_refresh_keeps_its_copy_on_304_and_replaces_it_after_a_change(
    module: TypeScriptModule, dora: User
) -> None:
    path = f"/v1/todos/{dora.create('kept')['id']}"
    script = f"""
        const known = await page.read({path!r}.split("/").pop());
        const same = await page.refresh(known);
        await page.send("POST", {path!r} + "/toggle");
        return [same === known, await page.refresh(known)];
    """
    (same, fresh), server = module.run(dora, script)
    first, _, toggled, _ = [exchange.response.headers["etag"] for exchange in server.exchanges]
    assert server.seen("If-None-Match") == [
        ("GET", path, 200, None),
        ("GET", path, 304, first),
        ("POST", f"{path}/toggle", 200, None),
        ("GET", path, 200, first),
    ]
    assert (same, fresh, fresh["etag"]) == (True, dora.list()[0], toggled)


@pytest.mark.node
def test_toggle_is_retried_after_a_rename_but_not_after_another_toggle(
    module: TypeScriptModule, dora: User
) -> None:
    path = f"/v1/todos/{dora.create('before')['id']}"
    script = f"""
        const seen = await page.read({path!r}.split("/").pop());
        await page.send("PATCH", {path!r}, {{}}, {{ title: "renamed" }});
        return [await page.toggle(seen), await page.toggle(seen)];
    """
    (flipped, again), server = module.run(dora, script)
    toggle = f"{path}/toggle"
    assert server.seen()[2:] == [
        *[("POST", toggle, 412), ("GET", path, 200), ("POST", toggle, 200)],
        *[("POST", toggle, 412), ("GET", path, 200)],
    ]
    assert flipped == again == dora.list()[0]
    assert (again["title"], again["is_completed"]) == ("renamed", True)
