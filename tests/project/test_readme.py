"""The README matches the code."""

import re
from collections.abc import Callable

import pytest

from tests.support.clients import Api
from tests.support.machine import ROOT
from tests.support.pages import relay, run_commands
from todo_api.settings import Settings

README = (ROOT / "README.md").read_text()


@pytest.mark.curl
def test_each_curl_example_responds_as_shown(local_api: Api, sql: Callable[..., object]) -> None:
    sql("DELETE FROM todos WHERE user_id = 'alice'")  # the tests of docs/openapi.json use alice too
    with relay(local_api) as server:
        assert run_commands(ROOT / "README.md", server.url) == 9


def test_each_setting_is_in_the_readme_with_its_default() -> None:
    table = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]*)\|", README, re.MULTILINE))
    for name, field in Settings.model_fields.items():
        shown = table.pop(name.upper()).strip().strip("`")
        default = "" if field.is_required() else str(field.default or "none")
        assert shown == default, name
    assert table == {}


def test_the_readme_names_every_module() -> None:
    for path in [*(ROOT / "todo_api").rglob("*.py"), ROOT / "handler.py"]:
        assert path.name == "__init__.py" or f"`{path.name}`" in README
