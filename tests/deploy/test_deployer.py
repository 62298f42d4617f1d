"""deploy/deployer.yml: the role with which GitHub deploys."""

from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any

import pytest

from tests.support.aws import Aws
from tests.support.cloudformation import findings, parsed
from tests.support.machine import ROOT
from tests.support.serverless import Project

TEXT = (ROOT / "deploy/deployer.yml").read_text()

IAM_NAMES = {
    "lambda:ListFunction": "lambda:GetFunction",
    "lambda:ListVersions": "lambda:ListVersionsByFunction",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
}
"""The actions that IAM calls otherwise than the fake AWS does."""


@pytest.fixture(scope="module")
def role() -> dict[str, Any]:
    """The properties of the role."""
    properties: dict[str, Any] = parsed(TEXT)["Resources"]["Deployer"]["Properties"]
    return properties


@pytest.fixture(scope="module")
def statements(role: dict[str, Any]) -> list[dict[str, Any]]:
    """What the role allows."""
    allowed: list[dict[str, Any]] = role["Policies"][0]["PolicyDocument"]["Statement"]
    return allowed


@pytest.fixture(scope="module")
def actions(statements: list[dict[str, Any]]) -> list[str]:
    """The actions that the role allows."""
    return [action for statement in statements for action in _listed(statement["Action"])]


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_cfn_lint_finds_nothing_and_knows_each_action() -> None:
    assert findings(TEXT) == []


def test_only_jobs_of_one_environment_of_the_repository_may_assume_the_role(
    role: dict[str, Any],
) -> None:
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    issuer = "token.actions.githubusercontent.com"
    assert trust["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert trust["Principal"]["Federated"]["Fn::Sub"].endswith(f":oidc-provider/{issuer}")
    subject = {"Fn::Sub": "repo:${Repository}:environment:${Environment}"}
    assert trust["Condition"] == {
        "StringEquals": {f"{issuer}:aud": "sts.amazonaws.com", f"{issuer}:sub": subject}
    }


def test_the_role_reaches_only_stages_of_its_environment(
    statements: list[dict[str, Any]], actions: list[str]
) -> None:
    """Except for API Gateway, and for actions that know no resources."""
    others = [
        statement["Action"]
        for statement in statements
        for resource in _listed(statement["Resource"])
        if "${Environment}*" not in str(resource)
    ]
    assert [{action.split(":")[0] for action in each} for each in others] == [
        *[{"apigateway"}] * 3,
        {"cloudformation", "cloudwatch", "logs"},
    ]
    assert {action for action in actions if "*" in action} == {"s3:Get*", "lambda:Get*"}


@pytest.mark.node
def test_the_role_allows_each_call_of_a_deploy_and_the_services_of_its_resources(
    project: Project, new_database: Callable[[], str], actions: list[str]
) -> None:
    aws = Aws({"/todo-api/dev/neon-database-url": new_database()})
    outcome = project.deploy(aws)
    assert outcome.returncode == 0, outcome.stderr
    # `sts:GetCallerIdentity` is allowed to all.
    needed = {IAM_NAMES.get(str(call), str(call)) for call in aws.calls} - {"sts:GetCallerIdentity"}
    assert {"ssm:PutParameter", "cloudformation:ExecuteChangeSet", "s3:PutObject"} <= needed
    forbidden = {
        action for action in needed if not any(fnmatch(action, allowed) for allowed in actions)
    }
    assert forbidden == set()

    services = {
        resource["Type"].split("::")[1].lower().removesuffix("v2")
        for resource in project.resources.values()
    }
    assert services <= {action.split(":")[0] for action in actions}
