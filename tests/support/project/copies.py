"""Copies of the whole project, with changes, and their own tests."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from dev import ROOT


class Copy:
    """A copy of the project in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "copy"
        shutil.copytree(ROOT, self.folder, ignore=shutil.ignore_patterns(".*", "node_modules"))

    def replace(self, path: str, old: str, new: str) -> None:
        """Replace a text that the file has once."""
        file = self.folder / path
        text = file.read_text()
        assert text.count(old) == 1, f"{path} has this {text.count(old)} times: {old}"
        file.write_text(text.replace(old, new))

    def add(self, path: str, text: str) -> None:
        """Add text at the end of a file, or a new file."""
        with (self.folder / path).open("a") as file:
            file.write(text)

    def run(self, *command: str, statuses: tuple[int, ...] = (0,)) -> str:
        """Run a command in the copy that exits with one of these, and return its output."""
        # Without CI, because the copy has no node_modules.
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("CI", "PYTEST_XDIST_WORKER")
        }
        outcome = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert outcome.returncode in statuses, outcome.stdout + outcome.stderr
        return outcome.stdout

    def write_openapi(self) -> None:
        """Write the copy's OpenAPI document, as `make openapi` does."""
        text = self.run(sys.executable, "-m", "dev.openapi")
        (self.folder / "docs/openapi.json").write_text(text)

    def failures(self, *arguments: str) -> dict[str, str]:
        """Run tests in the copy, and return what each that failed says, by its name."""
        command = [sys.executable, "-m", "pytest", "-vv", "-p", "no:cacheprovider"]
        command += ["--show-capture", "no"]
        output = self.run(*command, *arguments, statuses=(0, 1))  # others: no test could run
        assert "passed" in output or "failed" in output
        _, *reports = re.split(
            r"^_+ (?:ERROR at \w+ of )?(test_\w+).* _+$", output, flags=re.MULTILINE
        )
        found: dict[str, str] = {}
        for name, report in zip(reports[::2], reports[1::2], strict=True):
            found[name] = found.get(name, "") + report
        return found
