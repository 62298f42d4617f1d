"""The page for callers: its commands answer as shown, and its TypeScript does what the text says, come what may."""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from migrations.__main__ import migrate
from tests.support.clients import Api, Response, through_http
from tests.support.fault_scenario import FaultScenario
from tests.support.machine import ROOT
from tests.support.pages import ADDRESS, Relay, Shell, assert_as_shown, blocks, commands, relay, run_commands, shown
from tests.support.servers import free_port, start_server
from tests.support.users import User

PAGE = ROOT / "docs" / "calling.md"
BLOCKS = blocks(PAGE)
NOT_EXECUTED, UNKNOWN, GATEWAY = [
    text for (before, _), (language, text) in pairwise(BLOCKS) if language == "http" and before != "sh"
]
"""The answers that no command shows: two of the API when its database fails, and one of API Gateway's own."""

REFUSED, BEFORE, AFTER = "refused", "reset before the query", "reset after the query was sent"
"""What the database does: it refuses a statement, or the connection breaks before or after it has executed it."""

PROBLEM = "urn:todo-api:problem:"
_numbers = count(1)


# --- the page's TypeScript --------------------------------------------------------------------------------------------


class Module:
    """The module that the page's TypeScript blocks are together, compiled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "page.ts").write_text("".join(text for language, text in BLOCKS if language == "ts"))
        options = (
            "--strict --exactOptionalPropertyTypes --noUncheckedIndexedAccess --noUnusedLocals --noImplicitReturns"
        )
        target = "--target es2022 --module es2022 --lib es2022,dom"
        compiler = ["node", str(ROOT / "node_modules/typescript/bin/tsc"), *options.split(), *target.split()]
        done = subprocess.run([*compiler, "page.ts"], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        self._code = (folder / "page.js").read_text()

    def run(self, server: Relay, user: str, script: str) -> Any:
        """What a script returns that uses the module as `page`, as this user of this server."""
        number = next(_numbers)
        assert self._code.count(ADDRESS) == self._code.count('"ada"') == 1
        code = self._code.replace(ADDRESS, server.url).replace('"ada"', json.dumps(user))
        (self._folder / f"page-{number}.mjs").write_text(code)
        (self._folder / f"script-{number}.mjs").write_text(
            f'import * as page from "./page-{number}.mjs";\n'
            "const thrown = (promise) => promise.then(() => null, (error) => error);\n"
            f"const result = await (async () => {{ {script} }})();\n"
            "console.log(JSON.stringify(result));\n"
        )
        command = ["node", f"script-{number}.mjs"]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Module:
    """The page's module."""
    return Module(tmp_path_factory.mktemp("page"))


@pytest.fixture
def dora(local_api: Api) -> User:
    """A user of the local server."""
    return User(f"dora|{next(_numbers)}", local_api, [])


# --- a server whose database fails ------------------------------------------------------------------------------------


class ShakyServer:
    """The local server on a database that fails when it is told to, and one user."""

    def __init__(self, world: FaultScenario, call: Api) -> None:
        self.world = world
        self.call = call
        self.user = User(f"eve|{next(_numbers)}", call, [])

    def failing_once(self, fault: str) -> Callable[..., Response]:
        """The API, its database failing during the first request."""
        self.world.proxy.sqlstate = "53300" if fault == REFUSED else ""
        self.world.proxy.trouble = "" if fault == REFUSED else fault

        def call(*request: Any, **parts: Any) -> Response:
            answer = self.call(*request, **parts)
            self.world.proxy.sqlstate = self.world.proxy.trouble = ""
            return answer

        return call

    def todo(self, **fields: Any) -> dict[str, Any]:
        """A new todo."""
        return self.user.create("there before", **fields)


@pytest.fixture(scope="module")
def shaky_server(new_database: Callable[[], str]) -> Iterator[tuple[FaultScenario, Api]]:
    """The world with the failing database, and the local server on it."""
    uri = new_database()
    migrate(uri)
    world, port = FaultScenario(uri), free_port()
    server = start_server(port, {"NEON_DATABASE_URL": world.uri(), "DATABASE_TIMEOUT_SECONDS": "5"})
    yield world, Api(through_http(port))
    server.terminate()
    server.wait()


@pytest.fixture
def shaky(shaky_server: tuple[FaultScenario, Api]) -> ShakyServer:
    """The same, with a new user."""
    return ShakyServer(*shaky_server)


# --- the commands -----------------------------------------------------------------------------------------------------


@pytest.mark.curl
def test_each_command_answers_as_shown(local_api: Api) -> None:
    """Every curl example with the real curl, in the page's order: status, the fields shown, and the body."""
    with relay(local_api) as server:
        assert run_commands(PAGE, server.url) == 10
    assert {language for language, _ in BLOCKS} == {"sh", "http", "ts"}


@pytest.mark.curl
@pytest.mark.parametrize("fault", [REFUSED, BEFORE, AFTER])
def test_curl_tries_a_create_again_with_its_key(shaky: ShakyServer, fault: str) -> None:
    """The command with `--retry` ends with one todo, whether or not the first try has made it."""
    (command,) = [each for language, text in BLOCKS if language == "sh" for each in commands(text) if "--retry" in each]
    with relay(shaky.failing_once(fault)) as server:
        answer = Shell(server.url)(command.replace("ada", shaky.user.id))
    key = "8e03978e-40d5-43e8-bc93-6894a57f9324"
    assert server.seen("Idempotency-Key") == [("POST", "/v1/todos", 503, key), ("POST", "/v1/todos", 201, key)]
    assert ("idempotency-replayed" in answer.headers) is (fault == AFTER)
    assert shaky.user.list() == [json.loads(answer.body)]


@pytest.mark.parametrize(("fault", "text"), [(REFUSED, NOT_EXECUTED), (BEFORE, UNKNOWN), (AFTER, UNKNOWN)])
def test_the_two_kinds_of_503_are_as_shown(shaky: ShakyServer, fault: str, text: str) -> None:
    """The answers in the section on sending again, with a database that fails."""
    call = shaky.failing_once(fault)
    assert_as_shown(call("POST", "/v1/todos", user=shaky.user.id, json={"title": "x"}), text)
    assert len(shaky.user.list()) == (fault == AFTER)


# --- the module in good times -----------------------------------------------------------------------------------------


@pytest.mark.node
def test_an_error_is_thrown_with_all_that_it_says(module: Module, dora: User) -> None:
    """The fields of `Problem`, and that nothing is sent twice that was refused."""
    script = """
        const error = await thrown(page.create("k", { title: " ", description: "x".repeat(2001) }));
        const refused = page.outcome(error);
        return [error instanceof page.Problem, error.status, error.type, error.errors, error.requestId, refused];
    """
    with relay(dora.api) as server:
        found = module.run(server, dora.id, script)
    (exchange,) = server.exchanges
    body = exchange.answer.json()
    assert found == [True, 422, f"{PROBLEM}invalid-request", body["errors"], body["request_id"], "refused"]
    assert [error["field"] for error in body["errors"]] == ["title", "description"]
    assert exchange.answer.headers["x-request-id"] == body["request_id"]


@pytest.mark.node
def test_a_key_creates_once(module: Module, dora: User) -> None:
    """A double click, two creates at once with one key, makes one todo."""
    script = 'return Promise.all([1, 2].map(() => page.create("form-1", { title: "once", is_completed: true })))'
    with relay(dora.api) as server:
        first, second = module.run(server, dora.id, script)
    assert first == second == dora.list()[0]
    assert server.seen("Idempotency-Key") == [("POST", "/v1/todos", 201, "form-1")] * 2
    assert len(dora.list()) == 1


@pytest.mark.node
def test_the_loop_walks_over_all_pages(module: Module, dora: User) -> None:
    """Every todo once, in order, a page at a time; and with a filter, those that match."""
    made = [dora.create(f"number {number}", is_completed=number % 2 == 0) for number in range(5)][::-1]
    script = """
        const all = [], open = [];
        for await (const todo of page.todos({ limit: "2" })) all.push(todo);
        for await (const todo of page.todos({ limit: "1", is_completed: "false" })) open.push(todo);
        for await (const todo of page.todos()) { open.push(todo); break; }
        return [all, open];
    """
    with relay(dora.api) as server:
        everything, some = module.run(server, dora.id, script)
    assert everything == made
    assert some == [made[1], made[3], made[0]]
    paths = [exchange.path for exchange in server.exchanges]
    assert [path.partition("&cursor=")[0] for path in paths] == [
        *["/v1/todos?limit=2"] * 3,
        *["/v1/todos?limit=1&is_completed=false"] * 2,
        "/v1/todos?limit=100",
    ]
    assert ["cursor" in path for path in paths] == [False, True, True, False, True, False]


@pytest.mark.node
def test_an_edit_merges_with_what_somebody_else_has_made(module: Module, dora: User) -> None:
    """A writer who was slower adds to what is there now, and overwrites nothing."""
    path = f"/v1/todos/{dora.create('shared', description='Milk')['id']}"
    script = f"""
        const seen = await page.read({path!r}.split("/").pop());
        await page.send("PATCH", {path!r}, {{}}, {{ title: "theirs", description: "Milk, eggs" }});
        return page.edit(seen, (todo) => ({{ description: todo.description + ", bread" }}));
    """
    with relay(dora.api) as server:
        found = module.run(server, dora.id, script)
    first, theirs, _, second, mine = [exchange.answer.headers.get("etag") for exchange in server.exchanges]
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
def test_an_unchanged_todo_is_not_sent_again(module: Module, dora: User) -> None:
    """`refresh` keeps its copy on a 304, and takes the new one after a change."""
    path = f"/v1/todos/{dora.create('kept')['id']}"
    script = f"""
        const known = await page.read({path!r}.split("/").pop());
        const same = await page.refresh(known);
        await page.send("POST", {path!r} + "/toggle");
        return [same === known, await page.refresh(known)];
    """
    with relay(dora.api) as server:
        same, fresh = module.run(server, dora.id, script)
    first, _, toggled, _ = [exchange.answer.headers["etag"] for exchange in server.exchanges]
    assert server.seen("If-None-Match") == [
        ("GET", path, 200, None),
        ("GET", path, 304, first),
        ("POST", f"{path}/toggle", 200, None),
        ("GET", path, 200, first),
    ]
    assert (same, fresh, fresh["etag"]) == (True, dora.list()[0], toggled)


# --- the module in bad times ------------------------------------------------------------------------------------------


@pytest.mark.node
@pytest.mark.parametrize("fault", [REFUSED, BEFORE, AFTER])
def test_a_create_that_failed_is_sent_again_with_its_key(module: Module, shaky: ShakyServer, fault: str) -> None:
    """One row after a pause of `Retry-After`, whether or not the first create took effect."""
    with relay(shaky.failing_once(fault)) as server:
        found = module.run(server, shaky.user.id, 'return page.create("k-1", { title: "once" })')
    assert server.seen("Idempotency-Key") == [("POST", "/v1/todos", 503, "k-1"), ("POST", "/v1/todos", 201, "k-1")]
    failed, made = server.exchanges
    assert made.moment - failed.moment >= int(failed.answer.headers["retry-after"]) == 1
    assert ("idempotency-replayed" in made.answer.headers) is (fault == AFTER)
    assert shaky.user.list() == [found]


@pytest.mark.node
@pytest.mark.parametrize("fault", [REFUSED, BEFORE, AFTER])
def test_a_bare_toggle_is_sent_again_only_if_nothing_has_happened(
    module: Module, shaky: ShakyServer, fault: str
) -> None:
    """`retry(…, ["not-executed"])` does not flip back what may have been flipped."""
    path = f"/v1/todos/{shaky.todo()['id']}/toggle"
    script = f"""
        const attempt = () => page.send("POST", {path!r});
        return page.retry(attempt, ["not-executed"]).then((response) => response.status, page.outcome);
    """
    with relay(shaky.failing_once(fault)) as server:
        found = module.run(server, shaky.user.id, script)
    failed = ("POST", path, 503)
    assert (found, server.seen()) == (
        (200, [failed, ("POST", path, 200)]) if fault == REFUSED else ("unknown", [failed])
    )
    assert shaky.user.list()[0]["is_completed"] is (fault != BEFORE)


@pytest.mark.node
@pytest.mark.parametrize("fault", [REFUSED, BEFORE, AFTER])
def test_a_toggle_with_its_tag_flips_once(module: Module, shaky: ShakyServer, fault: str) -> None:
    """`toggle` sends the tag that it saw with each try, and takes a 412 for what it may be: its own."""
    seen = shaky.todo()
    path = f"/v1/todos/{seen['id']}"
    with relay(shaky.failing_once(fault)) as server:
        found = module.run(server, shaky.user.id, f"return page.toggle({json.dumps(seen)})")
    toggled = ("POST", f"{path}/toggle")
    second = (
        [(*toggled, 412, seen["etag"]), ("GET", path, 200, None)] if fault == AFTER else [(*toggled, 200, seen["etag"])]
    )
    assert server.seen("If-Match") == [(*toggled, 503, seen["etag"]), *second]
    assert found == shaky.user.list()[0]
    assert found["is_completed"] is True


@pytest.mark.node
def test_a_toggle_of_what_was_changed_otherwise_is_sent_with_the_new_tag(module: Module, dora: User) -> None:
    """`toggle` flips what somebody else has only renamed, and not what they have flipped already."""
    path = f"/v1/todos/{dora.create('before')['id']}"
    script = f"""
        const seen = await page.read({path!r}.split("/").pop());
        await page.send("PATCH", {path!r}, {{}}, {{ title: "renamed" }});
        return [await page.toggle(seen), await page.toggle(seen)];
    """
    with relay(dora.api) as server:
        flipped, again = module.run(server, dora.id, script)
    statuses = [(exchange.method, exchange.answer.status) for exchange in server.exchanges[2:]]
    assert statuses == [("POST", 412), ("GET", 200), ("POST", 200), ("POST", 412), ("GET", 200)]
    assert flipped == again == dora.list()[0]
    assert (again["title"], again["is_completed"]) == ("renamed", True)


@pytest.mark.node
@pytest.mark.parametrize("fault", [REFUSED, BEFORE, AFTER])
def test_an_edit_that_failed_is_made_once(module: Module, shaky: ShakyServer, fault: str) -> None:
    """A line is not added twice when the first try has arrived after all."""
    seen = shaky.todo(description="Milk")
    script = f'return page.edit({json.dumps(seen)}, (todo) => ({{ description: todo.description + ", bread" }}))'
    with relay(shaky.failing_once(fault)) as server:
        found = module.run(server, shaky.user.id, script)
    statuses = [(exchange.method, exchange.answer.status) for exchange in server.exchanges]
    assert statuses == [("PATCH", 503), *([("PATCH", 412), ("GET", 200)] if fault == AFTER else [("PATCH", 200)])]
    assert found == shaky.user.list()[0]
    assert found["description"] == "Milk, bread"


@pytest.mark.node
def test_it_gives_up_after_four_tries(module: Module, dora: User) -> None:
    """`retry` ends, with the last error."""
    at_once = replace(shown(NOT_EXECUTED), headers={"retry-after": "0"})
    with relay(dora.api, *[at_once] * 9) as server:
        script = 'const error = await thrown(page.create("k", { title: "x" })); return [error.type, error.retryAfter]'
        assert module.run(server, dora.id, script) == [f"{PROBLEM}database-unavailable:not-executed", 0]
    assert server.seen() == [("POST", "/v1/todos", 503)] * 4
    assert dora.list() == []


# --- API Gateway's own answers ----------------------------------------------------------------------------------------

AS_A_BROWSER = """
    const plain = globalThis.fetch;
    globalThis.fetch = async (url, options) => {
      const origin = "https://app.example";
      const response = await plain(url, { ...options, headers: { ...options.headers, Origin: origin } });
      if (response.headers.get("Access-Control-Allow-Origin") !== origin) throw new TypeError("Failed to fetch");
      return response;
    };
"""
"""What a browser does with an answer that does not name the page's origin."""


def _own(status: int) -> Response:
    """The answer that the page shows, with another status; with 413 it is plain text."""
    own = replace(shown(GATEWAY), status=status)
    return replace(own, body=b"Too large") if status == 413 else own


@pytest.mark.node
@pytest.mark.parametrize("prelude", ["", AS_A_BROWSER], ids=["Node.js", "browser"])
def test_what_the_gateway_answers_in_the_apis_place_is_tried_again(module: Module, dora: User, prelude: str) -> None:
    """One todo after two of the gateway's answers, be they readable or not."""
    with relay(dora.api, _own(503), _own(429)) as server:
        found = module.run(server, dora.id, prelude + 'return page.create("k-2", { title: "once" })')
    assert server.seen("Idempotency-Key") == [("POST", "/v1/todos", status, "k-2") for status in (503, 429, 201)]
    assert dora.list() == [found]


@pytest.mark.node
def test_the_outcome_of_the_gateways_answers_is_as_the_table_says(module: Module, dora: User) -> None:
    """Each row of the page's last table, for who can read the answer, and that a browser's page cannot."""
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
    with relay(dora.api, *[_own(status) for status in table] * 2) as server:
        readable, hidden = module.run(server, dora.id, script)
    for status, kind, outcome in readable:
        assert kind == "about:blank"
        assert outcome == ("refused" if status in (401, 413) else table[status].replace(" ", "-"))
    assert [status for status, *_ in readable] == list(table)
    assert hidden == [["TypeError", "unknown"]] * len(table)


@pytest.mark.node
def test_a_browser_may_read_all_that_the_module_reads(module: Module, dora: User) -> None:
    """The API's own answers, errors among them, name the page's origin and expose the fields."""
    script = """
        const todo = await page.create("k-3", { title: "from afar" });
        const error = await thrown(page.read(todo.id.replace(/^.{8}/, "00000000")));
        return [await page.toggle(await page.read(todo.id)), error.status];
    """
    with relay(dora.api) as server:
        found, status = module.run(server, dora.id, AS_A_BROWSER + script)
    assert (found, status) == (dora.list()[0], 404)
    exposed = server.exchanges[0].answer.headers["access-control-expose-headers"].split(", ")
    assert {"ETag", "Retry-After"} <= set(exposed)
