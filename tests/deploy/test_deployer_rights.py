"""What the role of deploy/deployer.yml may do, as an evaluation of its policies says.

The evaluator knows which condition keys AWS sends with an action: a condition on another key would
allow nothing.
"""

from collections.abc import Callable

import pytest

from tests.support.aws.deployer import (
    BOUNDARY,
    FORBIDDEN_ACTIONS,
    FUNCTIONS,
    LOGS,
    PARAMETERS,
    STACKS,
    STAGES,
    by_cloudformation,
    policies,
)
from tests.support.aws.fake_aws import Aws, Call
from tests.support.aws.iam import ACCOUNT, Action, allowed, substituted
from tests.support.aws.serverless import Project

pytestmark = [pytest.mark.node, pytest.mark.slow]


def test_the_role_may_not_become_another_or_reach_what_is_not_its_own() -> None:
    policy, _ = policies("branch")

    results = allowed(policy, FORBIDDEN_ACTIONS)

    assert len(results) == len(FORBIDDEN_ACTIONS)
    assert [request for request, result in results.items() if result] == []


@pytest.mark.parametrize("environment", STAGES)
def test_the_role_of_one_environment_may_change_nothing_of_another_environments_stage(
    environment: str,
) -> None:
    policy, _ = policies(environment)
    others = [stage for name, stage in STAGES.items() if name != environment]
    requests = [request for stage in others for request in by_cloudformation(stage, environment)]

    results = allowed(policy, requests)

    assert [request for request, result in results.items() if result] == []


ACCESS_LOG = [
    "CreateLogDelivery",
    "GetLogDelivery",
    "UpdateLogDelivery",
    "DeleteLogDelivery",
    "ListLogDeliveries",
]
ACCESS_LOG += ["PutResourcePolicy", "DescribeResourcePolicies", "DescribeLogGroups"]
"""https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-logging.html"""


@pytest.mark.parametrize(("environment", "stage"), STAGES.items())
def test_the_role_may_do_what_cloudformation_does_for_a_stage(environment: str, stage: str) -> None:
    policy, _ = policies(environment)
    requests = by_cloudformation(stage, environment) + [
        Action(f"logs:{name}") for name in ACCESS_LOG
    ]

    results = allowed(policy, requests)

    assert [request for request, result in results.items() if not result] == []


def test_the_role_may_find_and_remove_what_is_left_of_a_closed_pull_request() -> None:
    policy, _ = policies("branch")
    requests = [
        Action("cloudformation:ListStacks"),
        Action("ssm:DescribeParameters"),
        Action("cloudformation:DeleteStack", f"{STACKS}todo-api-branch-pr-7/1"),
        Action("ssm:DeleteParameters", f"{PARAMETERS}branch-pr-7/neon-database-url"),
        Action("ssm:DeleteParameters", f"{PARAMETERS}branch-pr-7/neon-database-url-runtime"),
    ]

    results = allowed(policy, requests)

    assert [request for request, result in results.items() if not result] == []


def request_of(call: Call) -> Action:
    """Return a recorded call of a deploy of `dev` as IAM sees it."""
    names = {
        "lambda:ListFunction": "lambda:GetFunction",
        "lambda:ListVersions": "lambda:ListVersionsByFunction",
        "s3:HeadBucket": "s3:ListBucket",
        "s3:HeadObject": "s3:GetObject",
    }
    action = names.get(str(call), str(call))
    bucket = "arn:aws:s3:::todo-api-dev-serverlessdeploymentbucket-abc"
    resources = {
        "cloudformation": f"{STACKS}todo-api-dev/1",
        "lambda": f"{FUNCTIONS}dev-todo-api",
        "s3": bucket if "Bucket" in action else f"{bucket}/key",
        "ssm": f"arn:aws:ssm:eu-central-1:{ACCOUNT}:parameter{call.parameters.get('Name', '')}",
    }
    return Action(
        action, "*" if action == "cloudformation:ValidateTemplate" else resources[call.service]
    )


def test_the_role_may_send_each_call_of_a_deploy(
    project: Project, new_database: Callable[[], str]
) -> None:
    policy, _ = policies("dev")
    aws = Aws({"/todo-api/dev/neon-database-url": new_database()})
    outcome = project.deploy(aws)
    assert outcome.returncode == 0, outcome.stderr
    requests = [request_of(call) for call in aws.calls if call.service != "sts"]  # allowed to all

    results = allowed(policy, requests)

    sent = {name.partition(" ")[0] for name in results}
    assert {"ssm:PutParameter", "cloudformation:ExecuteChangeSet", "s3:PutObject"} <= sent
    assert [request for request, result in results.items() if not result] == []


# --- the function ---------------------------------------------------------------------------------

EVERYTHING = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}
STREAM = f"{LOGS}/aws/lambda/branch-pr-7-todo-api:log-stream:abc"
KEY = f"arn:aws:kms:eu-central-1:{ACCOUNT}:key/6f1d2c3b"


def test_a_function_may_not_do_more_than_the_boundary_whatever_its_own_policy_says() -> None:
    _, boundary = policies("branch")
    requests = [
        *FORBIDDEN_ACTIONS,
        Action("ssm:GetParameter", f"{PARAMETERS}branch-pr-7/neon-database-url"),
        Action("ssm:GetParameter", f"{PARAMETERS}prod/neon-database-url-runtime"),
        Action("ssm:PutParameter", f"{PARAMETERS}branch-pr-7/neon-database-url-runtime"),
        Action("kms:Decrypt", KEY),
        Action("kms:Decrypt", KEY, {"kms:ViaService": "s3.eu-central-1.amazonaws.com"}),
        Action("logs:PutLogEvents", f"{LOGS}/aws/lambda/prod-todo-api:log-stream:abc"),
        Action("lambda:InvokeFunction", f"{FUNCTIONS}branch-pr-7-todo-api"),
        Action("s3:GetObject", "arn:aws:s3:::todo-api-branch-pr-7-bucket/state.json"),
    ]

    results = allowed(EVERYTHING, requests, boundary)

    assert [request for request, result in results.items() if result] == []


def test_a_function_may_do_within_the_boundary_all_that_it_needs(project: Project) -> None:
    key = f"database-url-key={KEY}"
    stage = ["--stage", "branch-pr-7", "--param", "tracing=true", "--param", key]
    outcome = project.run("package", *stage, "--param", f"permissions-boundary={BOUNDARY}")
    assert outcome.returncode == 0, outcome.stderr
    role = project.resources["IamRoleLambdaExecution"]["Properties"]
    _, boundary = policies("branch")
    needed = [
        Action("logs:CreateLogStream", STREAM),
        Action("logs:PutLogEvents", STREAM),
        Action("ssm:GetParameter", f"{PARAMETERS}branch-pr-7/neon-database-url-runtime"),
        Action("kms:Decrypt", KEY, {"kms:ViaService": "ssm.eu-central-1.amazonaws.com"}),
        Action("xray:PutTraceSegments"),
        Action("xray:PutTelemetryRecords"),
    ]

    # Of a second function, as docs/extending/4-authorizer.patch has it.
    other = Action("logs:PutLogEvents", STREAM.replace("-todo-api", "-todo-api-authorizer"))

    results = allowed(substituted(role["Policies"][0]["PolicyDocument"], {}), needed, boundary)
    results |= allowed(EVERYTHING, [other], boundary)

    assert role["PermissionsBoundary"] == BOUNDARY
    assert [request for request, result in results.items() if not result] == []


def test_a_function_may_not_make_the_log_group_of_a_removed_stage_again(
    packaged: Callable[[str], Project],
) -> None:
    role = packaged("dev").resources["IamRoleLambdaExecution"]["Properties"]
    policy = substituted(role["Policies"][0]["PolicyDocument"], {})
    # As AWS names a group that is to be created.
    group = f"{LOGS}/aws/lambda/dev-todo-api:log-stream:"
    again = Action("logs:CreateLogGroup", group)
    lines = Action("logs:PutLogEvents", f"{group}abc")

    results = allowed(policy, [again, lines])

    assert results == {str(again): False, str(lines): True}


def test_a_stage_that_is_deployed_by_hand_has_no_boundary(
    packaged: Callable[[str], Project],
) -> None:
    role = packaged("dev").resources["IamRoleLambdaExecution"]["Properties"]

    assert role["PermissionsBoundary"] == {"Ref": "AWS::NoValue"}
