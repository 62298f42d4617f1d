"""Run the Serverless Framework on a copy of the project.

So no test writes into the project itself.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from dev import ROOT
from tests.support.aws.fake_aws import Aws
from tests.support.http.http_server import Respond, serving
from tests.support.machine import NODE_TOOLS

CANARY = "never-to-be-seen"
"""The password of NEON_DATABASE_URL in the environment of each command, which must not appear in
its output."""

BUILD = """
import sys, zipfile
_, _, architecture, _, output = sys.argv
with zipfile.ZipFile(output, "w") as archive:
    archive.writestr("handler.py", f"# for {architecture}")
"""
"""A fast replacement for deploy/build.py, which test_build.py tests."""

TOPIC = "arn:aws:sns:eu-central-1:123456789012:alarms"
KEY = "arn:aws:kms:eu-central-1:123456789012:key/6f1d2c3b-0000-4000-8000-000000000000"
STAGE_OPTIONS: dict[str, list[str]] = {
    "dev": [],
    "prod": ["--param", "identity-source=authorizer"],
    "branch-login": [
        *("--param", "architecture=x86_64"),
        *("--param", f"alarm-topic={TOPIC}"),
        *("--param", f"database-url-key={KEY}"),
        *("--param", "tracing=true"),
        *("--param", "reserved-concurrency=5"),
        *("--param", "requests-per-second=7"),
        *("--param", "cors-origins=https://login.example"),
    ],
}
"""The options of each stage. Together they use the default and another value of every setting."""


class Project:
    """A copy of the project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        ignored = shutil.ignore_patterns(".*", "node_modules", "tests", "docs")
        shutil.copytree(ROOT, self.folder, ignore=ignored)
        (self.folder / "node_modules").symlink_to(ROOT / "node_modules")
        (self.folder / "deploy/build.py").write_text(BUILD)
        # `make` runs the Python of the tests, and logs its arguments.
        python = self.folder / ".venv/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\necho "$@" >>.venv/started\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        (self.folder / ".venv/serving").touch()

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the framework as `npx serverless` does."""
        return self.execute(str(NODE_TOOLS / "serverless"), *arguments, **environment)

    def deploy(
        self, aws: Respond, *options: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `serverless deploy` against a fake AWS."""
        with serving(aws) as url:
            return self.run("deploy", *options, AWS_ENDPOINT_URL=url, **environment)

    def failed_deploy(self, aws: Aws, *options: str) -> str:
        """Run a deploy that fails before it writes to AWS, and return its output on one line."""
        outcome = self.deploy(aws, *options)
        assert (outcome.returncode, aws.writes) == (1, [])
        return " ".join((outcome.stdout + outcome.stderr).split())

    def execute(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project, with only PATH from this machine's environment."""
        defaults = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder.parent),
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "NEON_DATABASE_URL": f"postgresql://owner:{CANARY}@canary.example/neondb",
            "SLS_AWS_MONITORING_FREQUENCY": "10",  # poll every 10 ms
            # Without a cache, each run compiles its schema: 2 s.
            "SLS_SCHEMA_CACHE_BASE_DIR": str(NODE_TOOLS.parent / ".cache"),
        }
        return subprocess.run(
            command,
            cwd=self.folder,
            env=defaults | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def template(self) -> Path:
        """The CloudFormation template of the last command."""
        return self.folder / ".serverless/cloudformation-template-update-stack.json"

    @property
    def resources(self) -> dict[str, Any]:
        """The template's resources by logical ID."""
        resources: dict[str, Any] = json.loads(self.template.read_text())["Resources"]
        return resources
