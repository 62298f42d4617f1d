"""A copy of the project for the Serverless Framework to work on, so that no test writes into the project itself."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.machine import ROOT

SERVERLESS = ROOT / "node_modules" / ".bin" / "serverless"
"""The command that `npx serverless` runs."""

CANARY = "postgresql://canary:never-to-be-seen@canary.example/canary"
"""Stands in the environment of every deploy as its NEON_DATABASE_URL, and belongs nowhere else."""

BUILD = """
import sys, zipfile
_, _, architecture, _, output = sys.argv
with zipfile.ZipFile(output, "w") as archive:
    archive.writestr("handler.py", f"# for {architecture}")
"""
"""Stands for deploy/build.py, which takes its time: its real zips have tests of their own."""


class Project:
    """A copy of the project."""

    def __init__(self, folder: Path, build: str | None = BUILD) -> None:
        self.folder = folder / "project"
        apart = shutil.ignore_patterns(".*", "node_modules", "tests", "docs", "__pycache__")
        shutil.copytree(ROOT, self.folder, ignore=apart)
        (self.folder / "node_modules").symlink_to(ROOT / "node_modules")
        if build:
            (self.folder / "deploy" / "build.py").write_text(build)
        # What `make` finds is the environment that the tests run in, and it notes what it is started with.
        python = self.folder / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\necho "$@" >>.venv/started\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        (self.folder / ".venv" / "serving").touch()

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the framework's command, with nothing of this machine's in the environment but the way to programs."""
        bare = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder.parent),
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "NEON_DATABASE_URL": CANARY,
            "SLS_AWS_MONITORING_FREQUENCY": "10",  # milliseconds between two looks at a stack's progress
        }
        command = [str(SERVERLESS), *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=bare | environment, capture_output=True, text=True, check=False
        )

    @property
    def template(self) -> Path:
        """The CloudFormation template that the last command made."""
        return self.folder / ".serverless" / "cloudformation-template-update-stack.json"

    @property
    def resources(self) -> dict[str, Any]:
        """The template's resources by their logical ids."""
        resources: dict[str, Any] = json.loads(self.template.read_text())["Resources"]
        return resources
