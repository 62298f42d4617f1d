"""docs/calling.md when the database fails or API Gateway responds itself."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from migrations.__main__ import migrate
from tests.support.calling import BLOCKS, GATEWAY, NOT_EXECUTED, PAGE, PROBLEM, UNKNOWN, TypeScriptModule
from tests.support.clients import Api, Response, through_http
from tests.support.fault_scenario import FaultScenario
from tests.support.pages import Shell, assert_as_shown, commands, relay, shown
from tests.support.servers import free_port, start_server
from tests.support.users import User

REFUSED, BEFORE, AFTER = "refused", "reset before the query", "reset after the query was sent"
"""The faults: the database rejects the statement, or the connection breaks before or after its execution."""

on_each_fault = pytest.mark.parametrize("fault", [REFUSED, BEFORE, AFTER])
_numbers = count(1)


class FaultyServer:
    """The local server on a database that fails on demand, with one user."""

    def __init__(self, scenario: FaultScenario, call: Api) -> None:
        self.proxy = scenario.proxy
        self.call = call
        self.user = User(f"eve|{next(_numbers)}", call, [])

    def failing_once(self, fault: str) -> Callable[..., Response]:
        """Return the API, with this fault during the first request."""
        self.proxy.sqlstate = "53300" if fault == REFUSED else ""
        self.proxy.fault = "" if fault == REFUSED else fault

        def call(*request: Any, **parts: Any) -> Response:
            response = self.call(*request, **parts)
            self.proxy.sqlstate = self.proxy.fault = ""
            return response

        return call


@pytest.fixture(scope="module")
def scenario_and_api(new_database: Callable[[], str]) -> Iterator[tuple[FaultScenario, Api]]:
    """A database with a faulty proxy, and the local server on it."""
    uri = new_database()
    migrate(uri)
    scenario, port = FaultScenario(uri), free_port()
    server = start_server(port, {"NEON_DATABASE_URL": scenario.uri(), "DATABASE_TIMEOUT_SECONDS": "5"})
    yield scenario, Api(through_http(port))
    server.terminate()
    server.wait()


@pytest.fixture
def faulty(scenario_and_api: tuple[FaultScenario, Api]) -> FaultyServer:
    """The server on the faulty database, with a new user."""
    return FaultyServer(*scenario_and_api)


# --- a database that fails --------------------------------------------------------------------------------------------


@pytest.mark.curl
@on_each_fault
def test_curl_retries_a_create_with_its_key_and_creates_one_todo(faulty: FaultyServer, fault: str) -> None:
    (command,) = [each for language, text in BLOCKS if language == "sh" for each in commands(text) if "--retry" in each]
    with relay(faulty.failing_once(fault)) as server:
        response = Shell(server.url)(command.replace("ada", faulty.user.id))
    key = "8e03978e-40d5-43e8-bc93-6894a57f9324"
    assert server.seen("Idempotency-Key") == [("POST", "/v1/todos", 503, key), ("POST", "/v1/todos", 201, key)]
    assert ("idempotency-replayed" in response.headers) is (fault == AFTER)
    assert faulty.user.list() == [json.loads(response.body)]


@pytest.mark.parametrize(("fault", "text"), [(REFUSED, NOT_EXECUTED), (BEFORE, UNKNOWN), (AFTER, UNKNOWN)])
def test_both_kinds_of_503_are_as_shown(faulty: FaultyServer, fault: str, text: str) -> None:
    call = faulty.failing_once(fault)
    assert_as_shown(call("POST", "/v1/todos", user=faulty.user.id, json={"title": "x"}), text)
    assert len(faulty.user.list()) == (fault == AFTER)


@pytest.mark.node
@on_each_fault
def test_failed_create_is_retried_after_retry_after_with_its_key(
    module: TypeScriptModule, faulty: FaultyServer, fault: str
) -> None:
    found, server = module.run(
        faulty.failing_once(fault), faulty.user.id, 'return page.create("k-1", { title: "once" })'
    )
    assert server.seen("Idempotency-Key") == [("POST", "/v1/todos", 503, "k-1"), ("POST", "/v1/todos", 201, "k-1")]
    failed, created = server.exchanges
    assert created.time - failed.time >= int(failed.response.headers["retry-after"]) == 1
    assert ("idempotency-replayed" in created.response.headers) is (fault == AFTER)
    assert faulty.user.list() == [found]


@pytest.mark.node
@on_each_fault
def test_toggle_without_etag_is_retried_only_if_not_executed(
    module: TypeScriptModule, faulty: FaultyServer, fault: str
) -> None:
    path = f"/v1/todos/{faulty.user.create('there before')['id']}/toggle"
    script = f"""
        const attempt = () => page.send("POST", {path!r});
        return page.retry(attempt, ["not-executed"]).then((response) => response.status, page.outcome);
    """
    found, server = module.run(faulty.failing_once(fault), faulty.user.id, script)
    failed, succeeded = ("POST", path, 503), ("POST", path, 200)
    expected = (200, [failed, succeeded]) if fault == REFUSED else ("unknown", [failed])
    assert (found, server.seen()) == expected
    assert faulty.user.list()[0]["is_completed"] is (fault != BEFORE)


@pytest.mark.node
@on_each_fault
def test_toggle_with_etag_is_retried_and_flips_once(module: TypeScriptModule, faulty: FaultyServer, fault: str) -> None:
    """A 412 on the retry may mean that the first attempt was executed, so `toggle` reads the todo."""
    seen = faulty.user.create("there before")
    path = f"/v1/todos/{seen['id']}"
    found, server = module.run(faulty.failing_once(fault), faulty.user.id, f"return page.toggle({json.dumps(seen)})")
    toggle, etag = ("POST", f"{path}/toggle"), seen["etag"]
    retry = [(*toggle, 412, etag), ("GET", path, 200, None)] if fault == AFTER else [(*toggle, 200, etag)]
    assert server.seen("If-Match") == [(*toggle, 503, etag), *retry]
    assert found == faulty.user.list()[0]
    assert found["is_completed"] is True


@pytest.mark.node
@on_each_fault
def test_failed_edit_is_retried_and_applied_once(module: TypeScriptModule, faulty: FaultyServer, fault: str) -> None:
    seen = faulty.user.create("there before", description="Milk")
    script = f'return page.edit({json.dumps(seen)}, (todo) => ({{ description: todo.description + ", bread" }}))'
    found, server = module.run(faulty.failing_once(fault), faulty.user.id, script)
    statuses = [(exchange.method, exchange.response.status) for exchange in server.exchanges]
    assert statuses == [("PATCH", 503), *([("PATCH", 412), ("GET", 200)] if fault == AFTER else [("PATCH", 200)])]
    assert found == faulty.user.list()[0]
    assert found["description"] == "Milk, bread"


@pytest.mark.node
def test_retry_throws_the_last_error_after_four_attempts(module: TypeScriptModule, dora: User) -> None:
    retry_at_once = replace(shown(NOT_EXECUTED), headers={"retry-after": "0"})
    script = 'const error = await thrown(page.create("k", { title: "x" })); return [error.type, error.retryAfter]'
    found, server = module.run(dora.api, dora.id, script, *[retry_at_once] * 9)
    assert found == [f"{PROBLEM}database-unavailable:not-executed", 0]
    assert server.seen() == [("POST", "/v1/todos", 503)] * 4
    assert dora.list() == []


# --- API Gateway's own responses --------------------------------------------------------------------------------------

AS_A_BROWSER = """
    const plain = globalThis.fetch;
    globalThis.fetch = async (url, options) => {
      const origin = "https://app.example";
      const response = await plain(url, { ...options, headers: { ...options.headers, Origin: origin } });
      if (response.headers.get("Access-Control-Allow-Origin") !== origin) throw new TypeError("Failed to fetch");
      return response;
    };
"""
"""Makes `fetch` fail like a browser's if the response does not allow the page's origin."""


def _gateway_response(status: int) -> Response:
    """Return the response that the page shows, with another status. API Gateway's 413 is plain text."""
    response = replace(shown(GATEWAY), status=status)
    return replace(response, body=b"Too large") if status == 413 else response


@pytest.mark.node
@pytest.mark.parametrize("prelude", ["", AS_A_BROWSER], ids=["Node.js", "browser"])
def test_create_is_retried_after_gateway_errors(module: TypeScriptModule, dora: User, prelude: str) -> None:
    script = prelude + 'return page.create("k-2", { title: "once" })'
    found, server = module.run(dora.api, dora.id, script, _gateway_response(503), _gateway_response(429))
    assert server.seen("Idempotency-Key") == [("POST", "/v1/todos", status, "k-2") for status in (503, 429, 201)]
    assert dora.list() == [found]


@pytest.mark.node
def test_outcome_of_gateway_errors_is_as_in_the_table_and_unknown_in_a_browser(
    module: TypeScriptModule, dora: User
) -> None:
    section = PAGE.read_text().partition("## What API Gateway answers itself")[2]
    rows = [
        line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ") and "status" not in line
    ]
    table = {int(status): row[-1].split(";")[0].strip() for row in rows for status in row[0].split(",")}
    assert set(table) == {401, 413, 429, 500, 502, 503}
    script = f"""
        const ask = async () => {{
          const errors = [];
          for (let i = 0; i < {len(table)}; i++) errors.push(await thrown(page.send("GET", "/v1/todos")));
          return errors;
        }};
        const readable = (await ask()).map((error) => [error.status, error.type, page.outcome(error)]);
        {AS_A_BROWSER}
        return [readable, (await ask()).map((error) => [error.name, page.outcome(error)])];
    """
    responses = [_gateway_response(status) for status in table]
    (readable, hidden), _ = module.run(dora.api, dora.id, script, *responses * 2)
    for status, kind, outcome in readable:
        assert kind == "about:blank"
        assert outcome == ("refused" if status in (401, 413) else table[status].replace(" ", "-"))
    assert [status for status, *_ in readable] == list(table)
    assert hidden == [["TypeError", "unknown"]] * len(table)


@pytest.mark.node
def test_browser_can_read_the_apis_own_responses_and_errors(module: TypeScriptModule, dora: User) -> None:
    script = """
        const todo = await page.create("k-3", { title: "from afar" });
        const error = await thrown(page.read(todo.id.replace(/^.{8}/, "00000000")));
        return [await page.toggle(await page.read(todo.id)), error.status];
    """
    (found, status), server = module.run(dora.api, dora.id, AS_A_BROWSER + script)
    assert (found, status) == (dora.list()[0], 404)
    exposed = server.exchanges[0].response.headers["access-control-expose-headers"].split(", ")
    assert {"ETag", "Retry-After"} <= set(exposed)
