"""The README and the pages match the code, and each other."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dev import ROOT
from tests.support.documents.pages import relay, run_commands
from tests.support.http.clients import Api
from todo_api.settings import Settings

README = (ROOT / "README.md").read_text()


@pytest.mark.curl
def test_each_curl_example_responds_as_shown(local_api: Api, sql: Callable[..., object]) -> None:
    sql("DELETE FROM todos WHERE user_id = 'alice'")  # the tests of docs/openapi.json use alice too
    with relay(local_api) as server:
        assert run_commands(ROOT / "README.md", server.url) == 1


def test_each_setting_is_in_the_readme_with_its_default() -> None:
    table = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]*)\|", README, re.MULTILINE))
    for name, field in Settings.model_fields.items():
        shown = table.pop(name.upper()).strip().strip("`")
        default = "" if field.is_required() else str(field.default or "none")
        assert shown == default, name
    assert table == {}


PAGES = sorted(path for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
GUIDES = [*PAGES, ROOT / ".github/CONTRIBUTING.md"]
COMMAND = r"(?:make |\.venv/bin/)"
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PYTEST"))
}


def _commands(page: Path) -> list[list[str]]:
    """The words of each command of make and of .venv/bin, in sentences and in code blocks."""
    text = page.read_text()
    in_sentences = re.findall(rf"`({COMMAND}[^`\n]+)`", text)
    in_blocks = re.findall(rf"^ *({COMMAND}.*)$", text, re.MULTILINE)
    return [shlex.split(command, comments=True) for command in [*in_sentences, *in_blocks]]


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


def test_make_knows_each_target_that_the_pages_name() -> None:
    database = _run("make", "--print-data-base", "--dry-run", "help").stdout
    targets = set(re.findall(r"^([./a-z-]+):", database, re.MULTILINE))
    named = {
        word
        for page in GUIDES
        for program, *words in _commands(page)
        if program == "make"
        for word in words
        if "=" not in word
    }
    assert {"run", "test", "check", "migrate"} <= named
    assert named - targets == set()


@pytest.mark.slow
def test_the_tools_that_the_pages_name_exist_and_the_tests_are_some() -> None:
    all_commands = {tuple(words) for page in GUIDES for words in _commands(page)}
    commands = [words for words in all_commands if words[0] != "make"]
    assert any("pytest" in words for words in commands)
    for program, *options in commands:
        assert (Path(sys.executable).parent / Path(program).name).exists(), program
        if "pytest" in options:
            collected = _run(sys.executable, *options, "--collect-only", "--quiet")
            assert collected.returncode == 0, (options, collected.stdout)


def test_the_architecture_names_every_module_and_no_other() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    (tree,) = re.findall(r"^```\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    folders: list[str] = []
    named = []
    for indentation, name in re.findall(r"^( *)([a-z_]+(?:/|\.py))", tree, re.MULTILINE):
        del folders[len(indentation) // 2 :]
        if name.endswith("/"):
            folders.append(name)
        else:
            named.append("".join([*folders, name]))

    modules = [path for path in (ROOT / "todo_api").rglob("*.py") if path.name != "__init__.py"]
    expected = [ROOT / "handler.py", *modules]
    assert sorted(named) == sorted(str(path.relative_to(ROOT)) for path in expected)


def test_the_picture_of_a_request_names_modules_that_exist() -> None:
    (picture,) = re.findall(r"^```mermaid\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    names = re.findall(r"[a-z/]+\.py", picture)
    assert len(names) > 5
    for name in names:
        assert (ROOT / name).exists() or (ROOT / "todo_api" / name).exists(), name


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if re.match("[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link
