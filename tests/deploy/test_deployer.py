"""deploy/deployer.yml: the role with which GitHub deploys."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from dev import ROOT
from tests.support.aws.cloudformation import findings, parsed
from tests.support.aws.serverless import Project

TEXT = (ROOT / "deploy/deployer.yml").read_text()


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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("repository", "accepted"),
    [
        ("octo-org/todo.api", True),
        ("octo-org@123456/todo.api@456789", True),
        ("octo-org@123456/todo.api", False),
        ("octo-org/todo.api@456789", False),
        ("octo-org@*/todo.api@*", False),
        ("octo-org@/todo.api@", False),
        ("*/*", False),
        ("octo-org/todo.api:environment:dev", False),
    ],
)
def test_the_role_trusts_a_repository_by_its_name_or_by_its_name_and_ids(
    repository: str, *, accepted: bool
) -> None:
    pattern = parsed(TEXT)["Parameters"]["Repository"]["AllowedPattern"]
    assert bool(re.fullmatch(pattern, repository)) is accepted


def test_the_role_reaches_only_stages_of_its_environment(
    statements: list[dict[str, Any]], actions: list[str]
) -> None:
    """Except for API Gateway, and for actions that know no resources."""
    others = [
        (
            sorted({action.split(":")[0] for action in _listed(statement["Action"])}),
            statement.get("Condition"),
        )
        for statement in statements
        if any(
            "${Environment}*" not in str(resource) for resource in _listed(statement["Resource"])
        )
    ]
    stage = {"Fn::Sub": "${Environment}*"}
    requested, existing = (
        {
            "StringEquals": {f"aws:{kind}Tag/service": "todo-api"},
            "StringLike": {f"aws:{kind}Tag/stage": stage},
        }
        for kind in ("Request", "Resource")
    )
    assert others == [
        (["apigateway"], None),  # the list of APIs
        (["apigateway"], requested),
        (["apigateway"], existing),
        (["apigateway"], None),  # the tags
        (["apigateway"], requested),
        (["cloudformation", "cloudwatch", "logs", "ssm"], None),
    ]
    assert {action for action in actions if "*" in action} == {"s3:Get*", "lambda:Get*"}


@pytest.mark.slow
@pytest.mark.node
def test_the_role_allows_actions_of_each_service_that_the_stack_has_resources_of(
    packaged: Callable[[str], Project], actions: list[str]
) -> None:
    services = {
        resource["Type"].split("::")[1].lower().removesuffix("v2")
        for resource in packaged("dev").resources.values()
    }

    assert services <= {action.split(":")[0] for action in actions}
