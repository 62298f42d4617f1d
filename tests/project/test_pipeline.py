"""The pipeline: what `make check` finds in the workflows, and the scripts of .ci.

Stubs stand in for other commands.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # has no types; a dependency of cfn-lint

from tests.support.machine import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
CHECKS = re.findall(r"^\t@\$\(BIN\)/(.* \.github\b.*)$", MAKEFILE, re.MULTILINE)
WORKFLOWS: dict[str, Any] = {
    path.stem: yaml.safe_load(path.read_text())
    for path in (ROOT / ".github/workflows").glob("*.yml")
}
JOBS = [(name, job) for name, workflow in WORKFLOWS.items() for job in workflow["jobs"].values()]

PREVIOUS = "serverless/todo-api/dev/1795212863669-2026-11-20T22:14:23.669Z/todo-api.zip"
URL = "https://abc123.execute-api.eu-central-1.amazonaws.com"
CALLER = "arn:aws:sts::123456789012:assumed-role/todo-api-deployer-dev/GitHubActions"
BOUNDARY = "arn:aws:iam::123456789012:policy/todo-api-boundary-dev"
OWNER = "postgresql://neondb_owner:s3cr3t@ep-a-pooler.eu-central-1.aws.neon.tech/neondb"
STUB = """#!/bin/sh
command="${0##*/} $*"
echo "$command" >>log
if echo "$command" | grep -qE "$FAILING"; then exit 1; fi
case $command in
*"branches create"*) echo "$OWNER";;
*connection-string*) echo "$OWNER";;
*get-template*) echo "$PREVIOUS";;
*get-caller-identity*) echo "$CALLER";;
*describe-stacks*) echo "$URL";;
*get-function-configuration*) echo https://app.example;;
*put-parameter*) cat >parameter;;
*verify*) echo "origins $CORS_ORIGINS" >>log;;
esac
"""


class Scripts:
    """A copy of .ci in a folder, with stubs for the commands that reach AWS, Neon and npm."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / ".ci", folder / ".ci")
        for name in ("bin/aws", "bin/make", "bin/npm", "bin/npx", "node_modules/.bin/neonctl"):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(STUB)
            path.chmod(0o755)

    def run(
        self, *command: str, stage: str = "dev", failing: str = "^$", caller: str = CALLER
    ) -> tuple[int, str]:
        """Run a script, and return its exit code and what it prints.

        `failing` matches the commands that fail.
        """
        environment = {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "STAGE": stage,
            "AWS_REGION": "eu-central-1",
            "NEON_PROJECT_ID": "project",
            "FAILING": failing,
            "PREVIOUS": PREVIOUS,
            "URL": URL,
            "CALLER": caller,
            "OWNER": OWNER,
        }
        outcome = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return outcome.returncode, outcome.stdout

    @property
    def log(self) -> str:
        """The commands that ran, with their arguments."""
        return (self.folder / "log").read_text()


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    """The scripts in a folder of their own."""
    return Scripts(tmp_path)


def make_check_accepts(folder: Path) -> bool:
    """Whether the commands of `make check` that read .github accept the one in this folder."""
    assert len(CHECKS) == 3
    commands = [["/bin/sh", "-c", f"{Path(sys.executable).parent}/{command}"] for command in CHECKS]
    return all(
        subprocess.run(command, cwd=folder, capture_output=True).returncode == 0
        for command in commands
    )


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("workflows/ci.yml", "@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0", "@v5"),
        (
            "workflows/audit.yml",
            "    permissions:\n      contents: read",
            "    permissions: write-all",
        ),
        ("workflows/ci.yml", "runs-on:", "run-on:"),
        ("workflows/branch-stage.yml", '"$ACTION"', "${{ github.event.pull_request.title }}"),
        ("dependabot.yml", "package-ecosystem: pip", "package-ecosystem: pypi"),
    ],
)
def test_make_check_refuses_a_broken_or_unsafe_workflow(
    tmp_path: Path, file: str, old: str, new: str
) -> None:
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    assert make_check_accepts(tmp_path)
    path = tmp_path / ".github" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert not make_check_accepts(tmp_path)


def test_each_deploying_job_names_the_environment_of_its_stage_and_stores_no_key() -> None:
    deploying = {name: job for name, job in JOBS if "id-token" in job.get("permissions", {})}
    assert set(deploying) == {"deploy", "branch-stage"}
    assert deploying["deploy"]["environment"] == deploying["deploy"]["steps"][-1]["env"]["STAGE"]
    assert (
        deploying["deploy"]["environment"] == "${{ github.ref_type == 'tag' && 'prod' || 'dev' }}"
    )
    assert deploying["branch-stage"]["environment"] == "branch"
    assert deploying["branch-stage"]["steps"][-1]["env"]["STAGE"].startswith("branch-")
    text = "".join(path.read_text() for path in (ROOT / ".github").rglob("*.yml"))
    assert not re.search("access.key", text, re.IGNORECASE)


def test_the_zip_of_the_default_architecture_is_tested_where_it_runs() -> None:
    job = WORKFLOWS["ci"]["jobs"]["quick-start"]
    assert "ubuntu-24.04-arm" in job["strategy"]["matrix"]["os"]
    (step,) = (step for step in job["steps"] if "if" in step)
    assert step["if"] == "runner.arch == 'ARM64' && runner.os == 'Linux'"
    tests = re.findall(r"tests/\S+", step["run"])
    assert tests == ["tests/deploy/test_build.py", "tests/entrypoints/test_lambda_runtime.py"]
    assert all((ROOT / test).exists() for test in tests)


def test_the_pipeline_runs_only_scripts_and_targets_that_exist() -> None:
    runs = [step["run"] for _, job in JOBS for step in job.get("steps", []) if "run" in step]
    text = "\n".join([*runs, *(path.read_text() for path in (ROOT / ".ci").iterdir())])
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    assert (
        {"audit", "check", "deploy", "run", "verify"}
        <= set(re.findall(r"\bmake ([a-z]+)", text))
        <= targets
    )
    assert [
        script
        for script in re.findall(r"\.ci/[a-z-]+", text)
        if not os.access(ROOT / script, os.X_OK)
    ] == []


def test_a_deploy_is_verified_with_the_origins_of_the_function(scripts: Scripts) -> None:
    status, output = scripts.run(".ci/deploy")
    assert (status, output) == (0, "")
    assert [re.split(" --(?!region|param)", line)[0] for line in scripts.log.splitlines()] == [
        "aws cloudformation get-template",
        "aws sts get-caller-identity",
        "make deploy STAGE=dev PARAMS=--region eu-central-1 "
        f"--param permissions-boundary={BOUNDARY}",
        "aws cloudformation describe-stacks",
        "aws lambda get-function-configuration",
        f"make verify URL={URL} QUICK=1",
        "origins https://app.example",
    ]


def test_a_deploy_as_somebody_else_than_the_role_of_the_environment_passes_no_boundary(
    scripts: Scripts,
) -> None:
    status, _ = scripts.run(".ci/deploy", caller="arn:aws:iam::123456789012:user/administrator")
    assert status == 0
    assert "make deploy STAGE=dev PARAMS=--region eu-central-1\n" in scripts.log


def test_no_script_or_page_fetches_a_package_that_is_not_locked() -> None:
    paths = [
        *(ROOT / ".ci").iterdir(),
        *(ROOT / ".github").rglob("*.yml"),
        *(ROOT / "docs").rglob("*.md"),
    ]
    assert [
        path for path in paths if re.search(r"npx (-y|--yes)\b|npm (i|install) ", path.read_text())
    ] == []
    package = json.loads((ROOT / "package.json").read_text())
    assert {"neonctl", "osls"} == set(package["dependencies"])


def test_a_deploy_that_fails_its_checks_names_the_command_back_to_the_version_before(
    scripts: Scripts,
) -> None:
    status, output = scripts.run(".ci/deploy", stage="prod", failing="verify")
    command = "npx serverless rollback --stage prod --region eu-central-1 --timestamp 1795212863669"
    assert (status, output) == (
        1,
        f"::error title=prod is deployed and fails its checks::To roll back: {command}\n",
    )


@pytest.mark.parametrize(
    ("failing", "message"),
    [("make deploy", ""), ("get-template|make verify", "there is no version before this one")],
)
def test_a_failed_or_first_deploy_names_no_rollback(
    scripts: Scripts, failing: str, message: str
) -> None:
    status, output = scripts.run(".ci/deploy", failing=failing)
    assert status != 0
    assert message in output
    assert "npx" not in output
    assert ("make verify" in scripts.log) is bool(message)


@pytest.mark.parametrize("exists", [False, True])
def test_a_pull_request_gets_a_branch_of_the_database_before_its_stage(
    scripts: Scripts, *, exists: bool
) -> None:
    failing = "^$" if exists else "branches get"
    status, output = scripts.run(".ci/branch-stage", "deploy", stage="branch-pr-7", failing=failing)
    assert status == 0
    assert "s3cr3t" not in output
    assert (scripts.folder / "parameter").read_text().strip() == OWNER
    before, _, after = scripts.log.partition(
        "put-parameter --name /todo-api/branch-pr-7/neon-database-url "
    )
    assert "make" not in before
    assert "make deploy STAGE=branch-pr-7 " in after
    assert ("branches create --name branch-pr-7" in scripts.log) is not exists


@pytest.mark.parametrize("failing", ["^$", "npm ci", "npx serverless", "aws", "branches delete"])
def test_a_closed_pull_request_loses_all_it_has_also_when_one_step_fails(
    scripts: Scripts, failing: str
) -> None:
    status, _ = scripts.run(".ci/branch-stage", "remove", stage="branch-pr-7", failing=failing)
    assert status == (failing != "^$")
    log = scripts.log
    parameter = "/todo-api/branch-pr-7/neon-database-url"
    assert "npx serverless remove --stage branch-pr-7 --region eu-central-1" in log
    assert f"aws ssm delete-parameters --names {parameter} {parameter}-runtime" in log
    assert re.search(
        r"^neonctl branches delete branch-pr-7 --project-id project$", log, re.MULTILINE
    )
