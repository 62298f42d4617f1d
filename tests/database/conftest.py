"""Fixtures of the tests of the database."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from dev.lab.neon_proxy import NeonProxy, neon_proxy
from dev.lab.sql import run_sql
from tests.support.postgres.clusters import OWNER, Uris, empty_cluster, of_database
from tests.support.postgres.damages import Change
from tests.support.postgres.fault_scenario import FaultScenario
from tests.support.postgres.revisions import Revisions


@pytest.fixture
def uri(new_database: Callable[[], str]) -> str:
    """The URI of an empty database."""
    return new_database()


@pytest.fixture
def revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Revisions:
    """A copy of the migrations, to add revisions to."""
    return Revisions(tmp_path / "migrations", monkeypatch)


@pytest.fixture(scope="module")
def migrated(new_migrated: Callable[[], str]) -> str:
    """The URI of a migrated database of the test module."""
    return new_migrated()


@pytest.fixture
def change(new_migrated: Callable[[], str]) -> Iterator[Change]:
    """Run statements on a new migrated database, and return its URI.

    Two roles exist meanwhile, `reporting` and `other_app`. At the end the server is as before.
    """
    uri = new_migrated()
    run_sql(uri, "CREATE ROLE reporting", "CREATE ROLE other_app")

    def change(statements: list[str]) -> str:
        database = uri.rpartition("/")[2]
        run_sql(uri, *(statement.replace("{database}", database) for statement in statements))
        return uri

    yield change
    run_sql(
        uri,
        "SET default_transaction_read_only = off",
        "ALTER ROLE postgres RESET ALL",
        "ALTER ROLE todo_app NOLOGIN NOBYPASSRLS NOCREATEROLE",
        "ALTER ROLE todo_app RESET ALL",
        "DROP OWNED BY reporting, other_app CASCADE",
        "DROP ROLE reporting, other_app",
    )


@pytest.fixture(scope="session")
def empty() -> Iterator[Callable[[str], Uris]]:
    """Create an empty database on a cluster of this version, which has no other."""
    with ExitStack() as stack:

        @cache
        def start(version: str) -> Uris:
            return stack.enter_context(empty_cluster(version))

        def create(version: str) -> Uris:
            owner, superuser = start(version)
            run_sql(
                superuser,
                *(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)" for name in ("todo", "second")),
                "DROP ROLE IF EXISTS todo_app, other",
                f"ALTER ROLE {OWNER} CREATEROLE",
                f"CREATE DATABASE todo OWNER {OWNER}",
            )
            return of_database(owner, "todo"), of_database(superuser, "todo")

        yield create


@pytest.fixture(scope="module")
def neon(migrated: str) -> Iterator[NeonProxy]:
    """A stand-in for Neon's proxy, in front of the module's migrated database."""
    with neon_proxy(migrated) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def scenario_of_module(migrated: str) -> FaultScenario:
    """A fault scenario on that database."""
    return FaultScenario(migrated)


@pytest.fixture
def scenario(
    scenario_of_module: FaultScenario, caplog: pytest.LogCaptureFixture
) -> Iterator[FaultScenario]:
    """The module's fault scenario, with the log of this test."""
    scenario_of_module.log = caplog
    yield scenario_of_module
    scenario_of_module.proxy.end_fault()  # also after a failure
