"""The policies of deploy/deployer.yml, and requests that they have to allow or deny."""

from functools import cache
from typing import Any
from urllib.parse import quote

from dev import ROOT
from tests.support.aws.cloudformation import parsed
from tests.support.aws.iam import ACCOUNT, Action, substituted

STAGES = {"dev": "dev", "prod": "prod", "branch": "branch-pr-7"}
"""A stage of each environment."""

BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/todo-api-boundary-branch"
OTHER_POLICY = f"arn:aws:iam::{ACCOUNT}:policy/of-somebody-else"
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/"
OWN_ROLE = f"{ROLE}todo-api-branch-pr-7-eu-central-1-lambdaRole"
DEPLOYER = f"{ROLE}todo-api-deployer-branch"
FUNCTIONS = f"arn:aws:lambda:eu-central-1:{ACCOUNT}:function:"
STACKS = f"arn:aws:cloudformation:eu-central-1:{ACCOUNT}:stack/"
PARAMETERS = f"arn:aws:ssm:eu-central-1:{ACCOUNT}:parameter/todo-api/"
LOGS = f"arn:aws:logs:eu-central-1:{ACCOUNT}:log-group:"
APIS = "arn:aws:apigateway:eu-central-1::/apis"
TAGS = f"arn:aws:apigateway:eu-central-1::/tags/{quote(f'{APIS}/abc', safe='')}"


def bounded_by(policy: str) -> dict[str, str]:
    """Return the condition keys of a request about a role with this boundary."""
    return {"iam:PermissionsBoundary": policy}


def tagged(kind: str, stage: str, service: str = "todo-api") -> dict[str, str]:
    """Return the condition keys of tags in the request, or of the resource."""
    return {f"aws:{kind}Tag/service": service, f"aws:{kind}Tag/stage": stage}


@cache
def policies(environment: str) -> tuple[Any, Any]:
    """Return the policies of the role and of the boundary in an environment's stack."""
    resources = parsed((ROOT / "deploy/deployer.yml").read_text())["Resources"]
    boundary = f"arn:aws:iam::{ACCOUNT}:policy/todo-api-boundary-{environment}"
    parameters = {"Environment": environment, "Boundary": boundary}
    (policy,) = resources["Deployer"]["Properties"]["Policies"]
    most = resources["Boundary"]["Properties"]["PolicyDocument"]
    return substituted(policy["PolicyDocument"], parameters), substituted(most, parameters)


FORBIDDEN_ACTIONS = [
    # To be somebody else
    Action("iam:CreateRole", OWN_ROLE),
    Action("iam:CreateRole", OWN_ROLE, bounded_by(OTHER_POLICY)),
    Action("iam:CreateRole", OWN_ROLE, bounded_by(ADMINISTRATOR)),
    Action("iam:CreateRole", f"{ROLE}administrator", bounded_by(BOUNDARY)),
    Action("iam:PutRolePolicy", OWN_ROLE),
    Action("iam:PutRolePolicy", DEPLOYER, bounded_by(BOUNDARY)),
    Action("iam:UpdateAssumeRolePolicy", OWN_ROLE),
    Action("iam:UpdateAssumeRolePolicy", f"{ROLE}todo-api-deployer-prod"),
    Action(
        "iam:AttachRolePolicy", OWN_ROLE, bounded_by(BOUNDARY) | {"iam:PolicyARN": ADMINISTRATOR}
    ),
    Action("iam:PassRole", f"{ROLE}administrator", {"iam:PassedToService": "lambda.amazonaws.com"}),
    Action("iam:PassRole", DEPLOYER, {"iam:PassedToService": "lambda.amazonaws.com"}),
    Action("iam:PassRole", OWN_ROLE, {"iam:PassedToService": "cloudformation.amazonaws.com"}),
    Action("iam:PassRole", OWN_ROLE, {"iam:PassedToService": "ec2.amazonaws.com"}),
    Action("iam:CreateUser", f"arn:aws:iam::{ACCOUNT}:user/me"),
    Action("iam:CreateAccessKey", f"arn:aws:iam::{ACCOUNT}:user/administrator"),
    Action("iam:CreateServiceLinkedRole", f"{ROLE}aws-service-role/a.amazonaws.com/A"),
    Action("sts:AssumeRole", f"{ROLE}administrator"),
    # To be without the boundary
    Action("iam:DeleteRolePermissionsBoundary", OWN_ROLE, bounded_by(BOUNDARY)),
    Action("iam:PutRolePermissionsBoundary", OWN_ROLE, bounded_by(ADMINISTRATOR)),
    Action("iam:PutRolePermissionsBoundary", DEPLOYER, bounded_by(BOUNDARY)),
    Action("iam:CreatePolicyVersion", BOUNDARY),
    Action("iam:SetDefaultPolicyVersion", BOUNDARY),
    Action("iam:DeletePolicyVersion", BOUNDARY),
    Action("iam:DeletePolicy", BOUNDARY),
    Action("cloudformation:UpdateStack", f"{STACKS}todo-api-deployer-branch/1"),
    # To reach the stages of other environments
    Action("cloudformation:UpdateStack", f"{STACKS}todo-api-prod/1"),
    Action("cloudformation:DeleteStack", f"{STACKS}todo-api-dev/1"),
    Action("ssm:GetParameter", f"{PARAMETERS}prod/neon-database-url"),
    Action("ssm:PutParameter", f"{PARAMETERS}dev/neon-database-url-runtime"),
    Action("lambda:UpdateFunctionCode", f"{FUNCTIONS}prod-todo-api"),
    Action("lambda:CreateFunction", f"{FUNCTIONS}something-else"),
    Action("lambda:InvokeFunction", f"{FUNCTIONS}prod-todo-api"),
    Action("logs:DeleteLogGroup", f"{LOGS}/aws/lambda/prod-todo-api"),
    Action("s3:GetObject", "arn:aws:s3:::todo-api-prod-bucket/state.json"),
    Action(
        "cloudwatch:DeleteAlarms",
        f"arn:aws:cloudwatch:eu-central-1:{ACCOUNT}:alarm:todo-api-prod-A",
    ),
    Action("apigateway:DELETE", f"{APIS}/abc", tagged("Resource", "prod")),
    Action("apigateway:PATCH", f"{APIS}/abc", tagged("Resource", "branch-pr-7", "another-service")),
    Action("apigateway:DELETE", f"{APIS}/abc"),
    Action("apigateway:POST", f"{APIS}/abc/integrations", tagged("Resource", "prod")),
    Action("apigateway:PATCH", f"{APIS}/abc/routes/def", tagged("Resource", "dev")),
    Action("apigateway:PATCH", f"{APIS}/abc/stages/$default", tagged("Resource", "prod")),
    Action("apigateway:POST", APIS, tagged("Request", "prod")),
    Action("apigateway:POST", APIS),
    Action("apigateway:DELETE", TAGS),
    Action("apigateway:POST", TAGS, tagged("Request", "prod")),
    Action("apigateway:GET", "arn:aws:apigateway:eu-central-1::/restapis"),
    # To be anywhere else
    Action("ec2:RunInstances", f"arn:aws:ec2:eu-central-1:{ACCOUNT}:instance/*"),
    Action(
        "secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:eu-central-1:{ACCOUNT}:secret:a"
    ),
]
"""What the role of `branch` must not be able to do."""


def by_cloudformation(stage: str, environment: str) -> list[Action]:
    """Return what CloudFormation sends for whoever deploys or removes a stage."""
    role = f"{ROLE}todo-api-{stage}-eu-central-1-lambdaRole"
    boundary = bounded_by(f"arn:aws:iam::{ACCOUNT}:policy/todo-api-boundary-{environment}")
    function = f"{FUNCTIONS}{stage}-todo-api"
    group = f"{LOGS}/aws/lambda/{stage}-todo-api"
    bucket = f"arn:aws:s3:::todo-api-{stage}-serverlessdeploymentbucket-abc"
    alarm = f"arn:aws:cloudwatch:eu-central-1:{ACCOUNT}:alarm:todo-api-{stage}-ErrorsAlarm-ABC"
    resource = tagged("Resource", stage)
    with_boundary = (
        "CreateRole PutRolePermissionsBoundary PutRolePolicy UpdateAssumeRolePolicy UpdateRole "
        "UpdateRoleDescription DeleteRolePolicy DeleteRole"
    )
    by_name = "GetRole GetRolePolicy ListRolePolicies ListAttachedRolePolicies TagRole UntagRole"
    of_function = (
        "CreateFunction GetFunction UpdateFunctionCode UpdateFunctionConfiguration TagResource "
        "PublishVersion PutFunctionConcurrency DeleteFunctionConcurrency AddPermission "
        "RemovePermission CreateAlias UpdateAlias DeleteAlias ListVersionsByFunction DeleteFunction"
    )
    of_group = (
        "CreateLogGroup PutRetentionPolicy TagResource PutMetricFilter DeleteMetricFilter "
        "DeleteLogGroup"
    )
    of_bucket = (
        "CreateBucket PutEncryptionConfiguration PutBucketPolicy PutBucketTagging "
        "DeleteBucketPolicy DeleteBucket"
    )
    return [
        *(Action(f"iam:{name}", role, boundary) for name in with_boundary.split()),
        *(Action(f"iam:{name}", role) for name in by_name.split()),
        Action("iam:PassRole", role, {"iam:PassedToService": "lambda.amazonaws.com"}),
        *(Action(f"lambda:{name}", function) for name in of_function.split()),
        *(Action(f"logs:{name}", group) for name in of_group.split()),
        Action("logs:CreateLogGroup", f"{LOGS}/aws/http-api/todo-api-{stage}"),
        *(Action(f"s3:{name}", bucket) for name in of_bucket.split()),
        *(
            Action(f"cloudwatch:{name}", alarm)
            for name in ("PutMetricAlarm", "TagResource", "DeleteAlarms")
        ),
        Action(
            "cloudwatch:PutDashboard", f"arn:aws:cloudwatch::{ACCOUNT}:dashboard/todo-api-{stage}"
        ),
        Action("apigateway:POST", APIS, tagged("Request", stage)),
        Action("apigateway:POST", TAGS, tagged("Request", stage)),
        Action("apigateway:GET", f"{APIS}/abc", resource),
        Action("apigateway:PATCH", f"{APIS}/abc", resource),
        Action("apigateway:DELETE", f"{APIS}/abc", resource),
        *(
            Action("apigateway:POST", f"{APIS}/abc/{name}", resource)
            for name in ("integrations", "routes", "stages")
        ),
        Action("apigateway:PATCH", f"{APIS}/abc/stages/$default", resource),
        Action("apigateway:DELETE", f"{APIS}/abc/routes/def", resource),
    ]
