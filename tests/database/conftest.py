"""Fixtures of the tests of the database."""

from collections.abc import Callable

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
def scenario(migrated: str) -> FaultScenario:
    """A fault scenario on that database."""
    return FaultScenario(migrated)
