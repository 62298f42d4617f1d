"""docs/calling.md when the database fails."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from textwrap import dedent

import pytest

from dev.lab.proxy import FaultyProxy
from dev.ports import free_port
from tests.support.documents.calling import (
    BLOCKS,
    HTTPX,
    PROBLEM,
    SHOWN_503,
    SHOWN_504,
    TypeScriptModule,
)
from tests.support.documents.pages import ADDRESS, Shell, assert_as_shown, commands, relay, shown
from tests.support.http.clients import Api, Response, through_http
from tests.support.http.servers import start_server
from tests.support.http.users import User
from tests.support.postgres.fault_scenario import FaultScenario

pytestmark = pytest.mark.slow

REFUSED = "refused"
BEFORE = "reset before the query"
AFTER = "reset after the query was sent"
"""The faults: the database rejects the statement, or the connection breaks before or after its
execution."""

STATUS = {REFUSED: 503, BEFORE: 504, AFTER: 504}

_numbers = count(1)


@pytest.fixture(scope="module")
def proxy_and_port(new_migrated: Callable[[], str]) -> Iterator[tuple[FaultyProxy, int]]:
    """A faulty proxy in front of a database, and the port of the local server on it."""
    uri = new_migrated()
    scenario = FaultScenario(uri)
    port = free_port()
    server = start_server(
        port, {"NEON_DATABASE_URL": scenario.uri(), "DATABASE_TIMEOUT_SECONDS": "5"}
    )
    yield scenario.proxy, port
    server.terminate()
    server.wait()


@pytest.fixture(params=[REFUSED, BEFORE, AFTER])
def fault(request: pytest.FixtureRequest) -> str:
    """Each fault in turn."""
    return str(request.param)


@pytest.fixture
def eve(proxy_and_port: tuple[FaultyProxy, int]) -> User:
    """A new user of the server on the faulty database."""
    return User(f"eve|{next(_numbers)}", Api(through_http(proxy_and_port[1])), [])


@pytest.fixture
def failing_eve(eve: User, proxy_and_port: tuple[FaultyProxy, int], fault: str) -> User:
    """The same user; the fault happens during the first request that is sent as this one."""
    proxy, port = proxy_and_port
    faults = [fault]

    def send(method: str, path: str, headers: dict[str, str], body: bytes | None) -> Response:
        now = faults.pop() if faults else ""
        proxy.sqlstate, proxy.fault = ("53300", "") if now == REFUSED else ("", now)
        response = through_http(port)(method, path, headers, body)
        proxy.sqlstate = proxy.fault = ""
        return response

    return replace(eve, api=Api(send))


@pytest.mark.curl
def test_curl_retries_a_create_with_its_key_and_creates_one_todo(
    eve: User, failing_eve: User, fault: str
) -> None:
    (command,) = [
        each
        for language, text in BLOCKS
        if language == "sh"
        for each in commands(text)
        if "--retry" in each
    ]
    with relay(failing_eve.api) as server:
        response = Shell(server.url)(command.replace("ada", eve.id))
    key = "8e03978e-40d5-43e8-bc93-6894a57f9324"
    assert server.seen("Idempotency-Key") == [
        ("POST", "/v1/todos", STATUS[fault], key),
        ("POST", "/v1/todos", 201, key),
    ]
    assert ("idempotency-replayed" in response.headers) is (fault == AFTER)
    assert eve.list() == [json.loads(response.body)]


@pytest.mark.node
def test_failed_create_is_as_shown_and_is_retried_after_a_second_with_its_key(
    module: TypeScriptModule, eve: User, failing_eve: User, fault: str
) -> None:
    found, server = module.run(failing_eve, 'return page.create("k-1", { title: "once" })')
    assert server.seen("Idempotency-Key") == [
        ("POST", "/v1/todos", STATUS[fault], "k-1"),
        ("POST", "/v1/todos", 201, "k-1"),
    ]
    failed, created = server.exchanges
    assert_as_shown(failed.response, SHOWN_503 if fault == REFUSED else SHOWN_504)
    assert created.time - failed.time >= 1
    assert ("idempotency-replayed" in created.response.headers) is (fault == AFTER)
    assert eve.list() == [found]


@pytest.mark.node
def test_toggle_without_etag_is_retried_only_if_not_executed(
    module: TypeScriptModule, eve: User, failing_eve: User, fault: str
) -> None:
    path = f"/v1/todos/{eve.create('there before')['id']}/toggle"
    script = f"""
        const attempt = () => page.send("POST", {path!r});
        const retried = page.retry(attempt, ["not-executed"]);
        return retried.then((response) => response.status, page.outcome);
    """
    found, server = module.run(failing_eve, script)
    failed = ("POST", path, STATUS[fault])
    succeeded = ("POST", path, 200)
    expected = (200, [failed, succeeded]) if fault == REFUSED else ("unknown", [failed])
    assert (found, server.seen()) == expected
    assert eve.list()[0]["is_completed"] is (fault != BEFORE)


@pytest.mark.node
def test_toggle_with_etag_is_retried_and_flips_once(
    module: TypeScriptModule, eve: User, failing_eve: User, fault: str
) -> None:
    """A 412 on the retry may mean that the first attempt was executed.

    So `toggle` reads the todo.
    """
    seen = eve.create("there before")
    path = f"/v1/todos/{seen['id']}"
    found, server = module.run(failing_eve, f"return page.toggle({json.dumps(seen)})")
    toggle = ("POST", f"{path}/toggle")
    etag = seen["etag"]
    retry = (
        [(*toggle, 412, etag), ("GET", path, 200, None)]
        if fault == AFTER
        else [(*toggle, 200, etag)]
    )
    assert server.seen("If-Match") == [(*toggle, STATUS[fault], etag), *retry]
    assert found == eve.list()[0]
    assert found["is_completed"] is True


@pytest.mark.node
def test_failed_remove_is_retried_and_ends_without_the_todo(
    module: TypeScriptModule, eve: User, failing_eve: User, fault: str
) -> None:
    seen = eve.create("there before")
    path = f"/v1/todos/{seen['id']}"
    _, server = module.run(failing_eve, f"await page.remove({json.dumps(seen)}); return null;")
    again = ("DELETE", path, 404 if fault == AFTER else 204, seen["etag"])
    assert server.seen("If-Match") == [("DELETE", path, STATUS[fault], seen["etag"]), again]
    assert eve.list() == []


@pytest.mark.node
def test_remove_of_a_todo_that_has_changed_is_refused(module: TypeScriptModule, dora: User) -> None:
    seen = dora.create("there before")
    changed = dora("POST", f"/v1/todos/{seen['id']}/toggle").json()
    script = f"return (await thrown(page.remove({json.dumps(seen)}))).status"
    found, _ = module.run(dora, script)
    assert found == 412
    assert dora.list() == [changed]


def test_httpx_retries_a_create_with_its_key_and_creates_one_todo(
    eve: User, failing_eve: User, fault: str
) -> None:
    program = HTTPX.read_text()
    create = """
        from uuid import uuid4
        key = {"Idempotency-Key": str(uuid4())}
        print(send("POST", "/v1/todos", json={"title": "Buy milk"}, headers=key).text)
    """
    with relay(failing_eve.api) as server:
        program = program.replace(ADDRESS, server.url).replace('"ada"', json.dumps(eve.id))
        command = [sys.executable, "-c", program + dedent(create)]
        run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    (failed, sent) = server.seen("idempotency-key")
    assert failed[:3] == ("POST", "/v1/todos", STATUS[fault])
    assert sent == ("POST", "/v1/todos", 201, failed[3])
    assert eve.list() == [json.loads(run.stdout)]


@pytest.mark.node
def test_failed_edit_is_retried_and_applied_once(
    module: TypeScriptModule, eve: User, failing_eve: User, fault: str
) -> None:
    seen = eve.create("there before", description="Milk")
    path = f"/v1/todos/{seen['id']}"
    script = f"""
        const addBread = (todo) => ({{ description: todo.description + ", bread" }});
        return page.edit({json.dumps(seen)}, addBread);
    """
    found, server = module.run(failing_eve, script)
    retry = [("PATCH", path, 412), ("GET", path, 200)] if fault == AFTER else [("PATCH", path, 200)]
    assert server.seen() == [("PATCH", path, STATUS[fault]), *retry]
    assert found == eve.list()[0]
    assert found["description"] == "Milk, bread"


@pytest.mark.node
def test_retry_throws_the_last_error_after_four_attempts(
    module: TypeScriptModule, dora: User
) -> None:
    retry_at_once = replace(shown(SHOWN_503), headers={"retry-after": "0"})
    script = """
        const error = await thrown(page.create("k", { title: "x" }));
        return [error.type, error.retryAfter];
    """
    found, server = module.run(dora, script, *[retry_at_once] * 9)
    assert found == [f"{PROBLEM}database-unavailable:not-executed", 0]
    assert server.seen() == [("POST", "/v1/todos", 503)] * 4
    assert dora.list() == []


@pytest.mark.node
def test_retry_throws_at_once_where_a_person_has_to_act_first(
    module: TypeScriptModule, dora: User
) -> None:
    misconfigured = replace(shown(SHOWN_503), headers={"retry-after": "60"})
    script = 'return (await thrown(page.create("k", { title: "x" }))).retryAfter;'
    found, server = module.run(dora, script, misconfigured)
    assert found == 60
    assert server.seen() == [("POST", "/v1/todos", 503)]
    assert dora.list() == []
