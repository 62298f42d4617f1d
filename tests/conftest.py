"""Fixtures: one PostgreSQL, one migrated database, entry points, and two users with todos.

The options of the command line, and which tests they select, are in tests/support/passes.py.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from shutil import unpack_archive
from tempfile import TemporaryDirectory
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from dev.lab.pgbouncer import counted_path
from dev.lab.proxy import TrafficCounter
from dev.lab.sql import run_sql
from dev.ports import free_port
from dev.postgres import Postgres
from migrations.__main__ import migrate
from tests.support.aws.zip import build_zip
from tests.support.http.clients import Api, through_http, through_lambda
from tests.support.http.servers import start_server
from tests.support.http.stage import ORIGINS, Stage, tokens
from tests.support.http.users import User, new_user
from tests.support.postgres.clusters import of_database

pytest_plugins = ("tests.support.passes", "tests.support.failure_log")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose the entry points of `either_api`."""
    if "either_api" in metafunc.fixturenames:
        entry_points = ["stage"] if metafunc.config.getoption("--url") else ["lambda", "local"]
        metafunc.parametrize("either_api", entry_points, indirect=True)


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> bool:
    """Whether the run has the option `--soak`."""
    return bool(request.config.getoption("--soak"))


@pytest.fixture(scope="session")
def through_pgbouncer(request: pytest.FixtureRequest) -> bool:
    """Whether the API reaches the database through PgBouncer."""
    return bool(request.config.getoption("--pgbouncer"))


# --- databases ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for the whole run.

    Its time zone is not UTC, to find code that assumes UTC.
    """
    # Not tmp_path: when root runs the tests, PostgreSQL runs as another user and cannot enter it.
    with (
        TemporaryDirectory(prefix="todo-api-tests-") as folder,
        Postgres(
            Path(folder), "fsync=off", "timezone=Asia/Kathmandu", "max_connections=200"
        ) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def new_database(postgres: Postgres) -> Callable[[], str]:
    """Create an empty database and return its URI."""
    numbers = count(1)

    def make() -> str:
        name = f"database_{next(numbers)}"
        run_sql(postgres.uri, f"CREATE DATABASE {name}")
        return of_database(postgres.uri, name)

    return make


@pytest.fixture(scope="session")
def new_migrated(postgres: Postgres, new_database: Callable[[], str]) -> Callable[[], str]:
    """Create a migrated database, as a copy, and return its URI."""
    template = new_database()
    migrate(template)
    numbers = count(1)

    def make() -> str:
        name = f"copy_{next(numbers)}"
        run_sql(postgres.uri, f"CREATE DATABASE {name} TEMPLATE {parse_dsn(template)['dbname']}")
        return of_database(template, name)

    return make


@pytest.fixture(scope="session")
def database(new_migrated: Callable[[], str]) -> str:
    """The migrated database of the API."""
    return new_migrated()


@pytest.fixture
def sql(database: str) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
    """Run a statement on the database, without the API."""
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        connection.autocommit = True

        def run(statement: str, *parameters: object) -> list[tuple[Any, ...]]:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

        yield run


@pytest.fixture(scope="session")
def path_to_database(
    database: str, *, through_pgbouncer: bool
) -> Iterator[tuple[str, TrafficCounter]]:
    """The database's URI for the API, and the traffic counter that it leads through.

    With `--pgbouncer`, it also leads through PgBouncer.
    """
    with counted_path(database, pooled=through_pgbouncer) as path:
        yield path


@pytest.fixture(scope="session")
def wire(path_to_database: tuple[str, TrafficCounter]) -> TrafficCounter:
    """The traffic counter between the API and the database."""
    return path_to_database[1]


@pytest.fixture(scope="session")
def environment(path_to_database: tuple[str, TrafficCounter]) -> dict[str, str]:
    """The environment of the API under test."""
    return {
        "NEON_DATABASE_URL": path_to_database[0],
        "CORS_ORIGINS": ",".join(ORIGINS),
        "LOG_LEVEL": "DEBUG",
    }


# --- entry points ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def lambda_api(environment: dict[str, str]) -> Api:
    """The API through the Lambda handler, after a first request.

    Only that one imports the handler, which reads the environment.
    """
    call = Api(through_lambda)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        call("GET", "/v1/todos", user="first-request")
    return call


@pytest.fixture(scope="session")
def local_port(environment: dict[str, str]) -> Iterator[int]:
    """The port of a running local server."""
    port = free_port()
    with start_server(port, environment) as server:
        yield port
        server.terminate()


@pytest.fixture(scope="session")
def local_api(local_port: int) -> Api:
    """The API through the local server."""
    return Api(through_http(local_port))


@pytest.fixture(scope="session")
def deployed_stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The stage that `--url` names."""
    try:
        stage = Stage(request.config.getoption("--url"), tokens())
        todos = stage.todos()
    except (ValueError, OSError) as error:
        pytest.exit(f"No test can run: {error}", returncode=1)
    with closing(stage):
        if todos:
            pytest.exit(
                "The users of the tests must have no todos. Has an earlier run been killed?",
                returncode=1,
            )
        yield stage
        assert stage.todos() == []


@pytest.fixture
def stage_api(deployed_stage: Stage) -> Iterator[Api]:
    """The API of a deployed stage. What a test creates is deleted after it."""
    yield deployed_stage
    deployed_stage.delete_todos()


@pytest.fixture
def either_api(request: pytest.FixtureRequest) -> Api:
    """The API, through each entry point in turn.

    The Lambda handler and the local server, or a deployed stage.
    """
    api: Api = request.getfixturevalue(f"{request.param}_api")
    return api


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials for a fake AWS."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")


# --- the Lambda zip -------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip for this machine, built once and shared by the workers of pytest-xdist."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    path = folder / "todo-api.zip"
    with (folder / "zip.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        return path if path.exists() else build_zip(path)


@pytest.fixture(scope="session")
def task(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unzipped files, which are /var/task on Lambda."""
    folder = tmp_path_factory.mktemp("task")
    unpack_archive(archive, folder)
    return folder


# --- users ----------------------------------------------------------------------------------------


@pytest.fixture
def alice(either_api: Api) -> User:
    """A user, through each entry point."""
    return new_user("alice", either_api)


@pytest.fixture
def bob(either_api: Api) -> User:
    """Another user, through each entry point."""
    return new_user("bob", either_api)


@pytest.fixture
def carol(lambda_api: Api) -> User:
    """A user, through the Lambda handler only."""
    return new_user("carol", lambda_api)
