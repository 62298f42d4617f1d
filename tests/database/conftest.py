"""Fixtures of the tests of the database."""

from collections.abc import Callable, Iterator

import pytest

from dev.postgres import Postgres
from migrations.__main__ import migrate
from tests.support.fault_scenario import FaultScenario
from tests.support.sql import run_sql


@pytest.fixture(scope="module")
def migrated(new_database: Callable[[], str]) -> str:
    """The URI of a migrated database of the test module."""
    uri = new_database()
    migrate(uri)
    return uri


@pytest.fixture(scope="session")
def new_migrated(postgres: Postgres, new_database: Callable[[], str]) -> Callable[[], str]:
    """Create a migrated database, as a copy, and return its URI."""
    template = new_database()
    migrate(template)

    def make() -> str:
        uri = new_database()
        name = uri.rpartition("/")[2]
        run_sql(
            postgres.uri,
            f"DROP DATABASE {name}",
            f"CREATE DATABASE {name} TEMPLATE {template.rpartition('/')[2]}",
        )
        return uri

    return make


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
