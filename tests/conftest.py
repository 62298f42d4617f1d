"""The world of the tests: one PostgreSQL, one migrated database, two ways in, and two users who both own rows."""

import os
import socket
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
from psycopg2.extensions import parse_dsn

from dev.postgres import Postgres
from migrations.__main__ import migrate
from tests.clients import Answer, Api, api, through_http, through_lambda
from tests.wire import Wire

ROOT = Path(__file__).parent.parent
_numbers = count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--soak`."""
    parser.addoption("--soak", action="store_true", help="run the tests at their long sizes")


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> bool:
    """Whether the tests run at their long sizes."""
    return bool(request.config.getoption("--soak"))


# --- databases --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for the whole run. Its time zone is not UTC, so that nothing comes out right by luck."""
    with (
        TemporaryDirectory(prefix="todo-api-tests-") as folder,  # not pytest's own, which only root could enter as root
        Postgres(Path(folder), "fsync=off", "timezone=Asia/Kathmandu", "max_connections=200") as server,
    ):
        yield server


@pytest.fixture(scope="session")
def new_database(postgres: Postgres) -> Callable[[], str]:
    """Makes empty databases, and returns their URIs."""

    def make() -> str:
        name = f"database_{next(_numbers)}"
        connection = psycopg2.connect(postgres.uri)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
        connection.close()
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
def wire(database: str) -> Wire:
    """The counter between the API and the database."""
    return Wire(int(parse_dsn(database)["port"]))


@pytest.fixture(scope="session")
def environment(database: str, wire: Wire) -> dict[str, str]:
    """The environment of the API under test."""
    parts = parse_dsn(database)
    port = str(wire.port)
    return {
        "NEON_DATABASE_URL": f"postgres://{parts['user']}:{parts['password']}@127.0.0.1:{port}/{parts['dbname']}",
        "CORS_ORIGINS": "https://app.example,http://localhost:3000",
        "LOG_LEVEL": "DEBUG",
    }


# --- ways in ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def lambda_api(environment: dict[str, str]) -> Api:
    """The API through the Lambda handler, warm."""
    os.environ |= environment
    call = api(through_lambda)
    call("GET", "/v1/todos", user="first-request")
    return call


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_server(port: int, environment: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    """Start the local server and wait until it answers."""
    command = [sys.executable, "-m", "dev.serve", "--port", str(port), *arguments]
    log = subprocess.DEVNULL
    server = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=log, stderr=log)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, "the local server ended"
        try:
            if api(through_http(port))("GET", "/health").status == 200:
                return server
        except OSError:
            time.sleep(0.05)
    raise TimeoutError("the local server does not answer")


@pytest.fixture(scope="session")
def local_api(environment: dict[str, str]) -> Iterator[Api]:
    """The API through the local server, as `make run` starts it."""
    port = free_port()
    server = start_server(port, environment)
    yield api(through_http(port))
    server.terminate()
    server.wait()


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


@pytest.fixture
def dave(lambda_api: Api) -> User:
    """Another user, through the Lambda handler only."""
    return new_user("dave", lambda_api)
