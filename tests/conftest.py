"""The world of the tests: one PostgreSQL, one migrated database, two ways in, and two users who both own rows."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg2
import pytest

from dev.postgres import Postgres
from migrations.__main__ import migrate
from tests.clients import Answer, Api, through_http, through_lambda
from tests.pgbouncer import BINARY, counted_path, free_port
from tests.wire import Wire

ROOT = Path(__file__).parent.parent
_numbers = count(1)
_MISSING = pytest.StashKey[list[str]]()
SYSTEM_POSTGRES = min(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
"""Where the programs of Debian's own PostgreSQL are, if it is installed: an older one than the wheel's."""
NODE_TOOLS = ROOT / "node_modules/.bin"
"""Where the programs of package.json are, once `make` has installed them."""

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
"""A browser, if one is installed."""
IN_A_NETWORK_OF_ITS_OWN = ("unshare", "--map-root-user", "--mount", "--net")
"""What runs a command where it sees no network but its own, and may mount files over the system's."""

TOOLS: dict[str, tuple[object, str]] = {
    "system_postgres": (
        SYSTEM_POSTGRES,
        "The system has no PostgreSQL, so no test runs on an older one: apt-get install postgresql",
    ),
    "browser": (CHROMIUM, "The system has no Chromium, so no test runs in a browser: apt-get install chromium"),
    "curl": (shutil.which("curl"), "There is no curl, so no command of the documentation runs: apt-get install curl"),
    "ruby": (
        shutil.which("java") and shutil.which("ruby"),
        "Java or Ruby is missing, so no Ruby client is generated: apt-get install default-jre-headless ruby",
    ),
    "php": (
        shutil.which("java") and shutil.which("php"),
        "Java or PHP is missing, so no PHP client is generated: apt-get install default-jre-headless php-cli",
    ),
    "linux": (sys.platform == "linux", "This is not Linux, so the Lambda zip is built, and not run"),
    "namespaces": (
        shutil.which("unshare")
        and subprocess.run([*IN_A_NETWORK_OF_ITS_OWN, "true"], capture_output=True).returncode == 0,
        "This system lets nobody have a network of their own, so no test runs with a name server that never answers",
    ),
    "node": (
        NODE_TOOLS.is_dir(),
        "What package.json names is not installed, so no test uses it: get Node.js 20.19 or newer, and make test again",
    ),
}
"""What some tests need of the machine, by their marker: whether it is there, and what to say where it is not."""

LEAST_TESTS = {"direct": 1360, "--pgbouncer": 613}
"""How many tests each pass has at least. The second pass runs those that are marked `pooled` or `pgbouncer`."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--soak` and `--pgbouncer`."""
    parser.addoption("--soak", action="store_true", help="run the tests at their long sizes")
    parser.addoption("--pgbouncer", action="store_true", help="run the tests of the API through a real PgBouncer")


def pytest_configure(config: pytest.Config) -> None:
    """Say what is not on this machine. In CI, where nobody would read it, that is a failure."""
    if config.getoption("--pgbouncer"):
        is_there: dict[str, object] = {
            "PgBouncer is not on this machine, so no test goes through it: apt-get install pgbouncer": BINARY
        }
    else:
        is_there = {sentence: tool for tool, sentence in TOOLS.values()}
    missing = [sentence for sentence, tool in is_there.items() if not tool]
    if missing and os.environ.get("CI"):
        pytest.exit(missing[0], returncode=1)
    if missing and config.getoption("--pgbouncer"):
        pytest.exit(missing[0], returncode=0)
    config.stash[_MISSING] = missing


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Repeat at the end what is not on this machine."""
    for sentence in config.stash[_MISSING]:
        terminalreporter.write_line(sentence)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this machine cannot run, and choose the tests of this pass."""

    def chosen(item: pytest.Item) -> bool:
        if any(item.get_closest_marker(marker) and not tool for marker, (tool, _) in TOOLS.items()):
            return False
        needs_pgbouncer = item.get_closest_marker("pgbouncer") is not None
        if not config.getoption("--pgbouncer"):
            return not needs_pgbouncer
        callspec = getattr(item, "callspec", None)
        if callspec and callspec.params.get("either_api") == "local":
            return False  # PgBouncer makes no difference to how a request reaches the API
        return needs_pgbouncer or item.get_closest_marker("pooled") is not None

    items[:] = filter(chosen, items)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a complete run that has lost tests: a marker or a fixture that was renamed must not drop them silently."""
    config = session.config
    reporter = config.pluginmanager.get_plugin("terminalreporter")  # which pytest-xdist's workers do not have
    missing = config.stash[_MISSING]
    is_complete = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    is_partial = not is_complete or config.option.keyword or config.option.collectonly
    if reporter is None or is_partial or missing or session.exitstatus != pytest.ExitCode.OK:
        return
    least = LEAST_TESTS["--pgbouncer" if config.getoption("--pgbouncer") else "direct"]
    passed = len(reporter.stats.get("passed", []))
    if passed < least:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"\nOnly {passed} tests ran, of at least {least}: have some lost their marker?", red=True)


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> bool:
    """Whether the tests run at their long sizes."""
    return bool(request.config.getoption("--soak"))


@pytest.fixture(scope="session")
def through_pgbouncer(request: pytest.FixtureRequest) -> bool:
    """Whether the API reaches the database through PgBouncer."""
    return bool(request.config.getoption("--pgbouncer"))


# --- databases --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for the whole run. Its time zone is not UTC, so that nothing comes out right by luck."""
    with (
        TemporaryDirectory(prefix="todo-api-tests-") as folder,  # not pytest's own, which only root could enter as root
        Postgres(Path(folder), "fsync=off", "timezone=Asia/Kathmandu", "max_connections=200") as server,
    ):
        yield server


def run_sql(uri: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements on a database past the API, on a connection of their own; the rows of the last."""
    connection = psycopg2.connect(uri)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        rows = cursor.fetchall() if cursor.description else []
    connection.close()
    return rows


@pytest.fixture(scope="session")
def new_database(postgres: Postgres) -> Callable[[], str]:
    """Makes empty databases, and returns their URIs."""

    def make() -> str:
        name = f"database_{next(_numbers)}"
        run_sql(postgres.uri, f"CREATE DATABASE {name}")
        return postgres.uri.removesuffix("/postgres") + f"/{name}"

    return make


@pytest.fixture(scope="session")
def database(new_database: Callable[[], str]) -> str:
    """The migrated database that the API works on."""
    uri = new_database()
    migrate(uri)
    return uri


@pytest.fixture
def sql(database: str) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
    """Looks into the database past the API."""
    connection = psycopg2.connect(database)
    connection.autocommit = True

    def run(statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    yield run
    connection.close()


@pytest.fixture(scope="session")
def path_to_database(database: str, request: pytest.FixtureRequest) -> Iterator[tuple[str, Wire]]:
    """The URI under which the API reaches the database, and what it passes: a counter, and PgBouncer if asked for."""
    with counted_path(database, pooled=request.config.getoption("--pgbouncer")) as path:
        yield path


@pytest.fixture(scope="session")
def wire(path_to_database: tuple[str, Wire]) -> Wire:
    """The counter between the API and the database."""
    return path_to_database[1]


@pytest.fixture(scope="session")
def environment(path_to_database: tuple[str, Wire]) -> dict[str, str]:
    """The environment of the API under test."""
    return {
        "NEON_DATABASE_URL": path_to_database[0],
        "CORS_ORIGINS": "https://app.example,http://localhost:3000",
        "LOG_LEVEL": "DEBUG",
    }


# --- ways in ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def lambda_api(environment: dict[str, str]) -> Api:
    """The API through the Lambda handler, warm."""
    os.environ |= environment
    call = Api(through_lambda)
    call("GET", "/v1/todos", user="first-request")
    return call


def start_server(
    port: int, environment: dict[str, str], *arguments: str, module: str = "dev.serve"
) -> subprocess.Popen[bytes]:
    """Start the local server, or another one of ours, and wait until it answers."""
    command = [sys.executable, "-m", module, "--port", str(port), *arguments]
    log = subprocess.DEVNULL
    server = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=log, stderr=log)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, f"{module} ended"
        try:
            if Api(through_http(port))("GET", "/health").status == 200:
                return server
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"{module} does not answer")


@pytest.fixture(scope="session")
def local_port(environment: dict[str, str]) -> Iterator[int]:
    """The port of the local server, as `make run` starts it."""
    port = free_port()
    server = start_server(port, environment)
    yield port
    server.terminate()
    server.wait()


@pytest.fixture(scope="session")
def local_api(local_port: int) -> Api:
    """The API through the local server."""
    return Api(through_http(local_port))


@pytest.fixture(params=["lambda", "local"])
def either_api(request: pytest.FixtureRequest) -> Api:
    """The API, through each way in turn."""
    way: Api = request.getfixturevalue(f"{request.param}_api")
    return way


# --- the two users ----------------------------------------------------------------------------------------------------


@dataclass
class User:
    """A user with rows of their own, and the way to call the API as them."""

    id: str
    api: Api
    todos: list[dict[str, Any]]

    def __call__(self, method: str, path: str, **request: Any) -> Answer:
        """Call the API as this user."""
        return self.api(method, path, user=self.id, **request)

    def create(self, title: str, **fields: object) -> dict[str, Any]:
        """Create a todo."""
        answer = self("POST", "/v1/todos", json={"title": title, **fields})
        assert answer.status == 201, answer
        todo: dict[str, Any] = answer.json()
        return todo

    def list(self, parameters: str = "limit=100") -> list[dict[str, Any]]:
        """The user's todos, of one page."""
        items: list[dict[str, Any]] = self("GET", f"/v1/todos?{parameters}").json()["items"]
        return items


def new_user(name: str, way: Api) -> User:
    """A user whom nobody has seen before, owning two todos."""
    user = User(f"{name}|{next(_numbers)}", way, [])
    user.todos = [
        user.create(f"{name}'s first", description="of two"),
        user.create(f"{name}'s second", is_completed=True),
    ]
    return user


@pytest.fixture
def alice(either_api: Api) -> User:
    """A user, through each way in."""
    return new_user("alice", either_api)


@pytest.fixture
def bob(either_api: Api) -> User:
    """Another user, through each way in."""
    return new_user("bob", either_api)


@pytest.fixture
def carol(lambda_api: Api) -> User:
    """A user, through the Lambda handler only."""
    return new_user("carol", lambda_api)
