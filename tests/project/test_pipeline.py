"""The pipeline: the workflows, and the scripts of .ci with stubs of other commands."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev import ROOT
from tests.support.project.scripts import BOUNDARY, URL, Scripts

MAKEFILE = (ROOT / "Makefile").read_text()
WORKFLOWS: dict[str, Any] = {
    path.stem: yaml.safe_load(path.read_text())
    for path in (ROOT / ".github/workflows").glob("*.yml")
}
JOBS = [(name, job) for name, workflow in WORKFLOWS.items() for job in workflow["jobs"].values()]


def test_each_deploying_job_names_the_environment_of_its_stage_and_stores_no_key() -> None:
    deploying = {name: job for name, job in JOBS if "id-token" in job.get("permissions", {})}
    assert set(deploying) == {"deploy", "branch-stage", "branch-stage-sweep"}
    assert deploying["deploy"]["environment"] == deploying["deploy"]["steps"][-1]["env"]["STAGE"]
    assert (
        deploying["deploy"]["environment"] == "${{ github.ref_type == 'tag' && 'prod' || 'dev' }}"
    )
    assert deploying["branch-stage"]["environment"] == "branch"
    assert deploying["branch-stage-sweep"]["environment"] == "branch"
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
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert (
        {"audit", "check", "deploy", "run", "verify"}
        <= set(re.findall(r"\bmake ([a-z-]+)", text))
        <= targets
    )
    assert [
        script
        for script in re.findall(r"\.ci/[a-z-]+", text)
        if not os.access(ROOT / script, os.X_OK)
    ] == []


def test_ci_runs_the_command_of_the_readme_for_every_test() -> None:
    command = (ROOT / ".ci/run").read_text().splitlines()[-1]
    assert command == "make check test-all"
    assert re.search(rf"^{command} +# .*every test", (ROOT / "README.md").read_text(), re.MULTILINE)


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


def test_closed_pull_requests_are_swept_by_mains_code_alone_and_also_every_hour() -> None:
    sweep = WORKFLOWS["branch-stage-sweep"]
    events = sweep[True]  # YAML 1.1 reads `on` as true
    assert events["pull_request_target"] == {"types": ["closed"]}
    assert events["schedule"] == [{"cron": "41 * * * *"}]
    steps = sweep["jobs"]["sweep"]["steps"]
    assert steps[0]["with"] == {"ref": "main", "persist-credentials": False}
    assert [step["run"] for step in steps if "run" in step] == [".ci/branch-stage sweep"]
    assert "github.event" not in str(sweep["jobs"])
    assert WORKFLOWS["branch-stage"][True]["pull_request"] == {
        "types": ["opened", "reopened", "synchronize"]
    }


def test_a_release_is_a_commit_on_main(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.example", *arguments]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    def require_main() -> int:
        return subprocess.run([tmp_path / ".ci/require-main"], capture_output=True).returncode

    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    git("init", "--quiet")
    git("commit", "--allow-empty", "--message", "on main")
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    assert require_main() == 0
    git("checkout", "--quiet", "-b", "feature")
    git("commit", "--allow-empty", "--message", "not on main")
    assert require_main() == 1

    steps = WORKFLOWS["deploy"]["jobs"]["deploy"]["steps"]
    assert steps[1] == {"if": "github.ref_type == 'tag'", "run": ".ci/require-main"}
    assert steps[0]["with"]["fetch-depth"] == 0
