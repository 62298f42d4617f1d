"""The stages of pull requests: .ci/branch-stage, with stubs of other commands."""

import re
import subprocess

import pytest

from dev import ROOT
from tests.support.machine import NODE_TOOLS
from tests.support.project.scripts import OWNER, Scripts


@pytest.mark.parametrize("exists", [False, True])
def test_a_pull_request_gets_a_branch_of_the_database_before_its_stage(
    scripts: Scripts, *, exists: bool
) -> None:
    failing = "^$" if exists else "branches get branch-pr-7 --project-id project$"
    status, output = scripts.run(".ci/branch-stage", "deploy", stage="branch-pr-7", failing=failing)
    assert status == 0
    assert "s3cr3t" not in output
    assert (scripts.folder / "parameter").read_text().strip() == OWNER
    before, _, after = scripts.log.partition(
        "put-parameter --name /todo-api/branch-pr-7/neon-database-url "
    )
    assert "make" not in before
    assert "make deploy STAGE=branch-pr-7 " in after
    reset = "neonctl api --method POST /projects/project/branches/br-a/roles/neondb_owner"
    assert ("branches create --name branch-pr-7" in scripts.log) is not exists
    assert (f"{reset}/reset_password\n" in before) is not exists


def test_a_branch_of_the_database_that_keeps_its_parents_password_does_not_stay(
    scripts: Scripts,
) -> None:
    failing = "reset_password|branches get .* --project-id project$"

    status, _ = scripts.run(".ci/branch-stage", "deploy", stage="branch-pr-7", failing=failing)

    assert status == 1
    assert "neonctl branches delete branch-pr-7" in scripts.log
    assert "put-parameter" not in scripts.log


NEONCTL = r"neonctl(?: \"\$@\")? ((?:[a-z][a-z-]* ?)+)((?:[^|`\n\\]|\\\n)*)"


@pytest.mark.slow
@pytest.mark.node
def test_the_locked_neonctl_has_each_command_and_option_of_the_scripts_and_pages() -> None:
    texts = [(ROOT / ".ci/branch-stage").read_text(), (ROOT / "docs/operations.md").read_text()]
    used = {
        (command.strip(), option)
        for text in texts
        for command, rest in re.findall(NEONCTL, text)
        for option in ("", *re.findall(r"--[a-z-]+", rest))
    }
    pages = {}
    for command in {command for command, _ in used}:
        line = [str(NODE_TOOLS / "neonctl"), *command.split(), "--help"]
        outcome = subprocess.run(line, capture_output=True, text=True, check=True)
        pages[command] = outcome.stdout

    assert {"branches create", "connection-string", "projects create", "api"} <= set(pages)
    for command, option in used:
        assert f"neonctl {command}" in pages[command]
        assert option.replace("--no-", "--") in pages[command] + "--output", (command, option)


def test_no_page_copies_a_database_for_a_stage() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    assert "neonctl projects create --name todo-api-branch-login" in page
    assert "branches create --name" not in page


def removed(scripts: Scripts) -> list[str]:
    """Return the commands that remove something, in order, without their options."""
    commands = [line for line in scripts.log.splitlines() if re.search("remove|delete", line)]
    return [re.sub(" --(region|project-id) .*", "", command) for command in commands]


def parameters(stage: str) -> str:
    """Return the command that deletes the parameters of a stage."""
    name = f"/todo-api/{stage}/neon-database-url"
    return f"aws ssm delete-parameters --names {name} {name}-runtime"


REMOVED = [
    "npx serverless remove --stage branch-pr-7",
    parameters("branch-pr-7"),
    parameters("branch-pr-8"),
    "neonctl branches delete branch-pr-8",
    parameters("branch-pr-9"),
]
"""What is left of the pull requests 7 to 9, which are closed: a stack, a branch, a parameter."""


@pytest.mark.parametrize("failing", ["^$", "npx serverless", "ssm delete", "branches delete"])
def test_a_sweep_removes_all_of_closed_pull_requests_also_when_a_step_fails(
    scripts: Scripts, failing: str
) -> None:
    status, _ = scripts.run(".ci/branch-stage", "sweep", failing=failing)

    assert status == (failing != "^$")
    assert removed(scripts) == REMOVED


def test_a_sweep_keeps_a_stage_whose_pull_request_it_cannot_ask_for(scripts: Scripts) -> None:
    status, _ = scripts.run(".ci/branch-stage", "sweep", failing="gh pr view 7")

    assert status == 1
    assert removed(scripts) == REMOVED[2:]


@pytest.mark.parametrize(
    "failing", ["npm ci", "list-stacks", "describe-parameters", "branches list"]
)
def test_a_sweep_that_cannot_list_everything_removes_nothing(
    scripts: Scripts, failing: str
) -> None:
    status, _ = scripts.run(".ci/branch-stage", "sweep", failing=failing)

    assert status != 0
    assert removed(scripts) == []
