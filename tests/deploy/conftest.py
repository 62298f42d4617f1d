"""Fixtures: a migrated database, a project to deploy, and a login on a cluster of its own."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.aws.serverless import STAGE_OPTIONS, Project
from tests.support.postgres.clusters import EACH_VERSION, neon_like
from tests.support.postgres.logins import created, new_stage


@pytest.fixture
def migrated(new_migrated: Callable[[], str]) -> str:
    """The URI of a migrated database."""
    return new_migrated()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A copy of the project to deploy."""
    return Project(tmp_path)


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Project]:
    """Package the project for a stage, once for all tests that only look at it."""

    @cache
    def package(stage: str) -> Project:
        project = Project(tmp_path_factory.mktemp(stage))
        outcome = project.run("package", "--stage", stage, *STAGE_OPTIONS[stage])
        assert outcome.returncode == 0, outcome.stderr
        return project

    return package


@pytest.fixture(scope="session", params=EACH_VERSION)
def cluster(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """The URIs of the owner and of a superuser of a migrated database.

    On the newest PostgreSQL and on Debian's.
    """
    with neon_like(request.param) as uris:
        yield uris


@pytest.fixture(scope="session")
def owner(cluster: tuple[str, str]) -> str:
    """The URI of the login that owns the tables."""
    return cluster[0]


@pytest.fixture(scope="session")
def login(owner: str) -> str:
    """The URI of a login of the function."""
    return created(owner, "branch-x")


@pytest.fixture
def stage() -> str:
    """The name of a stage that has no login yet."""
    return new_stage()
