"""docs/calling.md when the database fails or API Gateway responds itself."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import pytest

from migrations.__main__ import migrate
from tests.support.calling import (
    BLOCKS,
    GATEWAY,
    NOT_EXECUTED,
    PAGE,
    PROBLEM,
    UNKNOWN,
    TypeScriptModule,
)
from tests.support.clients import Api, Response, through_http
from tests.support.fault_scenario import FaultScenario
from tests.support.pages import Shell, assert_as_shown, commands, relay, shown
from tests.support.proxy import FaultyProxy
from tests.support.servers import free_port, start_server
from tests.support.users import User

REFUSED, BEFORE, AFTER = "refused", "reset before the query", "reset after the query was sent"
"""The faults: the database rejects the statement, or the connection breaks before or after its
execution."""

STATUS = {REFUSED: 503, BEFORE: 504, AFTER: 504}

_numbers = count(1)


@pytest.fixture(scope="module")
def proxy_and_port(new_database: Callable[[], str]) -> Iterator[tuple[FaultyProxy, int]]:
    """A faulty proxy in front of a database, and the port of the local server on it."""
    uri = new_database()
    migrate(uri)
    scenario, port = FaultScenario(uri), free_port()
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


# --- a database that fails ------------------------------------------------------------------------


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
    assert_as_shown(failed.response, NOT_EXECUTED if fault == REFUSED else UNKNOWN)
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
    failed, succeeded = ("POST", path, STATUS[fault]), ("POST", path, 200)
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
    toggle, etag = ("POST", f"{path}/toggle"), seen["etag"]
    retry = (
        [(*toggle, 412, etag), ("GET", path, 200, None)]
        if fault == AFTER
        else [(*toggle, 200, etag)]
    )
    assert server.seen("If-Match") == [(*toggle, STATUS[fault], etag), *retry]
    assert found == eve.list()[0]
    assert found["is_completed"] is True


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
    retry_at_once = replace(shown(NOT_EXECUTED), headers={"retry-after": "0"})
    script = """
        const error = await thrown(page.create("k", { title: "x" }));
        return [error.type, error.retryAfter];
    """
    found, server = module.run(dora, script, *[retry_at_once] * 9)
    assert found == [f"{PROBLEM}database-unavailable:not-executed", 0]
    assert server.seen() == [("POST", "/v1/todos", 503)] * 4
    assert dora.list() == []


# --- API Gateway's own responses ------------------------------------------------------------------

AS_A_BROWSER = """
    const plain = globalThis.fetch;
    globalThis.fetch = async (url, options) => {
      const origin = "https://app.example";
      const headers = { ...options.headers, Origin: origin };
      const response = await plain(url, { ...options, headers });
      const allowed = response.headers.get("Access-Control-Allow-Origin");
      if (allowed !== origin) throw new TypeError("Failed to fetch");
      return response;
    };
"""
"""Makes `fetch` fail like a browser's if the response does not allow the page's origin."""


def _gateway_response(status: int) -> Response:
    """Return the response that the page shows, with another status.

    API Gateway's 413 is plain text.
    """
    response = replace(shown(GATEWAY), status=status)
    return replace(response, body=b"Too large") if status == 413 else response


@pytest.mark.node
@pytest.mark.parametrize("prelude", ["", AS_A_BROWSER], ids=["Node.js", "browser"])
def test_create_is_retried_after_gateway_errors(
    module: TypeScriptModule, dora: User, prelude: str
) -> None:
    script = prelude + 'return page.create("k-2", { title: "once" })'
    found, server = module.run(dora, script, _gateway_response(503), _gateway_response(429))
    assert server.seen("Idempotency-Key") == [
        ("POST", "/v1/todos", status, "k-2") for status in (503, 429, 201)
    ]
    assert dora.list() == [found]


@pytest.mark.node
def test_outcome_of_gateway_errors_is_as_in_the_table_and_unknown_in_a_browser(
    module: TypeScriptModule, dora: User
) -> None:
    section = PAGE.read_text().partition("## What API Gateway answers itself")[2]
    rows = [
        line.strip("|").split("|")
        for line in section.splitlines()
        if line.startswith("| ") and "status" not in line
    ]
    table = {
        int(status): row[-1].split(";")[0].strip() for row in rows for status in row[0].split(",")
    }
    assert set(table) == {401, 403, 413, 429, 500, 502, 503, 504}
    script = f"""
        const ask = async () => {{
          const errors = [];
          for (let i = 0; i < {len(table)}; i++) {{
            errors.push(await thrown(page.send("GET", "/v1/todos")));
          }}
          return errors;
        }};
        const shown = (error) => [error.status, error.type, page.outcome(error)];
        const readable = (await ask()).map(shown);
        {AS_A_BROWSER}
        return [readable, (await ask()).map((error) => [error.name, page.outcome(error)])];
    """
    responses = [_gateway_response(status) for status in table]
    (readable, hidden), _ = module.run(dora, script, *responses * 2)
    for status, kind, outcome in readable:
        assert kind == "about:blank"
        assert outcome == (
            "refused" if status in (401, 403, 413) else table[status].replace(" ", "-")
        )
    assert [status for status, *_ in readable] == list(table)
    assert hidden == [["TypeError", "unknown"]] * len(table)
