"""Fixtures of the tests of docs/calling.md."""

from itertools import count

import pytest

from tests.support.calling import TypeScriptModule
from tests.support.clients import Api
from tests.support.users import User

_numbers = count(1)


@pytest.fixture(scope="session")
def module(tmp_path_factory: pytest.TempPathFactory) -> TypeScriptModule:
    """The page's TypeScript module."""
    return TypeScriptModule(tmp_path_factory.mktemp("page"))


@pytest.fixture
def dora(local_api: Api) -> User:
    """A user of the local server, without todos."""
    return User(f"dora|{next(_numbers)}", local_api, [])
