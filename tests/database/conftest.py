"""Fixtures of the tests of the database."""

from collections.abc import Callable, Iterator

import pytest

from migrations.__main__ import migrate
from tests.support.fault_scenario import FaultScenario


@pytest.fixture(scope="module")
def migrated(new_database: Callable[[], str]) -> str:
    """The URI of a migrated database of the test module."""
    uri = new_database()
    migrate(uri)
    return uri


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
