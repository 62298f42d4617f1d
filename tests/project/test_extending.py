"""The worked example of docs/extending still fits the code."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.machine import ROOT

PATCHES = sorted((ROOT / "docs/extending").glob("[12]-*.patch"))


def test_a_field_and_an_operation_are_added_by_the_patches(tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    ignored = shutil.ignore_patterns(".*", "node_modules")
    shutil.copytree(ROOT, folder, ignore=ignored)

    def run(*command: str) -> str:
        # Without CI, because the copy has no node_modules.
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("CI", "PYTEST_XDIST_WORKER")
        }
        outcome = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr
        return outcome.stdout

    assert len(PATCHES) == 2
    for patch in PATCHES:
        run("git", "apply", str(patch))  # an error names the file and the line that no longer fit
        if patch.stem == "1-field":
            run(sys.executable, "-m", "dev.revision", "due_at")
    (folder / "docs/openapi.json").write_text(run(sys.executable, "-m", "dev.openapi"))
    for check in (["check"], ["format", "--check"]):
        run(sys.executable, "-m", "ruff", *check, ".")
    names = (
        *("api/test_operations", "contract/test_openapi"),
        *("database/test_row_level_security", "database/test_statements"),
    )
    tests = [f"tests/{name}.py" for name in names]
    options = ["-q", "-p", "no:cacheprovider", "-k", "not local and not bypassrls"]
    output = run(sys.executable, "-m", "pytest", *options, *tests)
    assert " passed" in output
