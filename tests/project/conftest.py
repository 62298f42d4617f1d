"""Fixtures of the tests of docs/calling.md, of the example of an authorizer, and of .ci."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.support.aws.authorizer import Provider, extract
from tests.support.documents.calling import TypeScriptModule
from tests.support.http.clients import Api
from tests.support.http.users import User
from tests.support.project.scripts import Scripts

_numbers = count(1)


@pytest.fixture(scope="session")
def module(tmp_path_factory: pytest.TempPathFactory) -> TypeScriptModule:
    """The page's TypeScript module."""
    return TypeScriptModule(tmp_path_factory.mktemp("page"))


@pytest.fixture
def dora(local_api: Api) -> User:
    """A user of the local server, without todos."""
    return User(f"dora|{next(_numbers)}", local_api, [])


@pytest.fixture(scope="session")
def authorizer_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authorizer.py of docs/extending/4-authorizer.patch."""
    return extract(tmp_path_factory.mktemp("authorizer"))


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """An identity provider with a key of each algorithm, which no test changes."""
    with Provider("RS256", "ES256", "EdDSA").serving() as provider:
        yield provider


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    """The scripts of .ci in a folder of their own."""
    return Scripts(tmp_path)
