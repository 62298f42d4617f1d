"""The procedure of docs/extending that makes a project about something else."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dev import ROOT

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs/extending/README.md").read_text()
IGNORED = (".venv", "node_modules", ".git", ".postgres", ".serverless", "__pycache__")
TESTS = (
    *("api/test_operations", "contract/test_openapi", "contract/test_openapi_responses"),
    "project/test_structure",
)
ENVIRONMENT = {
    # Without CI, because the copy has no node_modules.
    name: value
    for name, value in os.environ.items()
    if name not in ("CI", "MAKEFLAGS", "PYTEST_XDIST_WORKER")
}


def _run(folder: Path, *command: str) -> str:
    outcome = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository that holds the project as it is, and whose tools are those of this process."""
    folder = tmp_path / "clone"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*IGNORED))
    _run(folder, "git", "init", "--quiet")
    _run(folder, "git", "add", "--all")
    author = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    _run(folder, "git", *author, "commit", "--quiet", "--message", "Start")
    environment = folder / ".venv"
    environment.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (environment / name).symlink_to(Path(sys.prefix) / name)
    for installed in ("serving", "ready"):
        # In the future, or `make` would install again what the substitution touches.
        (environment / installed).touch()
        os.utime(environment / installed, (2**32, 2**32))
    return folder


def test_the_commands_of_the_page_make_a_project_about_notes(clone: Path) -> None:
    _, section = PAGE.split("\n## From todos to something else\n")
    (commands,) = re.findall(r"^```console\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)

    # CI runs `make check` on the project as it is.
    assert commands.startswith("make check\n")
    _run(clone, "sh", "-e", "-c", commands.removeprefix("make check\n"))

    files = _run(clone, "git", "ls-files").splitlines()
    assert [name for name in files if "todo" in name.lower()] == []
    left = _run(clone, "git", "grep", "--ignore-case", "--files-with-matches", "todo")
    assert left.splitlines() == [
        "tests/project/identity_providers.json",
        "tests/project/test_authorizer_providers.py",
    ]
    # But for the other entry point, and imports in processes of their own.
    options = ["-q", "-p", "no:cacheprovider", "-k", "not local and not importing and not process"]
    tests = [f"tests/{name}.py" for name in TESTS]
    assert " passed" in _run(clone, ".venv/bin/python", "-m", "pytest", *options, *tests)
