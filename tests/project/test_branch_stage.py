"""The stages of pull requests: .ci/branch-stage, with stubs of other commands."""

import re

import pytest

from tests.support.scripts import OWNER, Scripts


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
