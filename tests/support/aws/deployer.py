"""The policies of deploy/deployer.yml, and requests that they have to allow or deny."""

from functools import cache
from typing import Any
from urllib.parse import quote

from dev import ROOT
from tests.support.aws.cloudformation import parsed
from tests.support.aws.iam import ACCOUNT, Request, substituted

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


FORBIDDEN = [
    # To be somebody else
    Request("iam:CreateRole", OWN_ROLE),
    Request("iam:CreateRole", OWN_ROLE, bounded_by(OTHER_POLICY)),
    Request("iam:CreateRole", OWN_ROLE, bounded_by(ADMINISTRATOR)),
    Request("iam:CreateRole", f"{ROLE}administrator", bounded_by(BOUNDARY)),
    Request("iam:PutRolePolicy", OWN_ROLE),
    Request("iam:PutRolePolicy", DEPLOYER, bounded_by(BOUNDARY)),
    Request("iam:UpdateAssumeRolePolicy", OWN_ROLE),
    Request("iam:UpdateAssumeRolePolicy", f"{ROLE}todo-api-deployer-prod"),
    Request(
        "iam:AttachRolePolicy", OWN_ROLE, bounded_by(BOUNDARY) | {"iam:PolicyARN": ADMINISTRATOR}
    ),
    Request(
        "iam:PassRole", f"{ROLE}administrator", {"iam:PassedToService": "lambda.amazonaws.com"}
    ),
    Request("iam:PassRole", DEPLOYER, {"iam:PassedToService": "lambda.amazonaws.com"}),
    Request("iam:PassRole", OWN_ROLE, {"iam:PassedToService": "cloudformation.amazonaws.com"}),
    Request("iam:PassRole", OWN_ROLE, {"iam:PassedToService": "ec2.amazonaws.com"}),
    Request("iam:CreateUser", f"arn:aws:iam::{ACCOUNT}:user/me"),
    Request("iam:CreateAccessKey", f"arn:aws:iam::{ACCOUNT}:user/administrator"),
    Request("iam:CreateServiceLinkedRole", f"{ROLE}aws-service-role/a.amazonaws.com/A"),
    Request("sts:AssumeRole", f"{ROLE}administrator"),
    # To be without the boundary
    Request("iam:DeleteRolePermissionsBoundary", OWN_ROLE, bounded_by(BOUNDARY)),
    Request("iam:PutRolePermissionsBoundary", OWN_ROLE, bounded_by(ADMINISTRATOR)),
    Request("iam:PutRolePermissionsBoundary", DEPLOYER, bounded_by(BOUNDARY)),
    Request("iam:CreatePolicyVersion", BOUNDARY),
    Request("iam:SetDefaultPolicyVersion", BOUNDARY),
    Request("iam:DeletePolicyVersion", BOUNDARY),
    Request("iam:DeletePolicy", BOUNDARY),
    Request("cloudformation:UpdateStack", f"{STACKS}todo-api-deployer-branch/1"),
    # To reach the stages of other environments
    Request("cloudformation:UpdateStack", f"{STACKS}todo-api-prod/1"),
    Request("cloudformation:DeleteStack", f"{STACKS}todo-api-dev/1"),
    Request("ssm:GetParameter", f"{PARAMETERS}prod/neon-database-url"),
    Request("ssm:PutParameter", f"{PARAMETERS}dev/neon-database-url-runtime"),
    Request("lambda:UpdateFunctionCode", f"{FUNCTIONS}prod-todo-api"),
    Request("lambda:CreateFunction", f"{FUNCTIONS}something-else"),
    Request("lambda:InvokeFunction", f"{FUNCTIONS}prod-todo-api"),
    Request("logs:DeleteLogGroup", f"{LOGS}/aws/lambda/prod-todo-api"),
    Request("s3:GetObject", "arn:aws:s3:::todo-api-prod-bucket/state.json"),
    Request(
        "cloudwatch:DeleteAlarms",
        f"arn:aws:cloudwatch:eu-central-1:{ACCOUNT}:alarm:todo-api-prod-A",
    ),
    Request("apigateway:DELETE", f"{APIS}/abc", tagged("Resource", "prod")),
    Request(
        "apigateway:PATCH", f"{APIS}/abc", tagged("Resource", "branch-pr-7", "another-service")
    ),
    Request("apigateway:DELETE", f"{APIS}/abc"),
    Request("apigateway:POST", f"{APIS}/abc/integrations", tagged("Resource", "prod")),
    Request("apigateway:PATCH", f"{APIS}/abc/routes/def", tagged("Resource", "dev")),
    Request("apigateway:PATCH", f"{APIS}/abc/stages/$default", tagged("Resource", "prod")),
    Request("apigateway:POST", APIS, tagged("Request", "prod")),
    Request("apigateway:POST", APIS),
    Request("apigateway:DELETE", TAGS),
    Request("apigateway:POST", TAGS, tagged("Request", "prod")),
    Request("apigateway:GET", "arn:aws:apigateway:eu-central-1::/restapis"),
    # To be anywhere else
    Request("ec2:RunInstances", f"arn:aws:ec2:eu-central-1:{ACCOUNT}:instance/*"),
    Request(
        "secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:eu-central-1:{ACCOUNT}:secret:a"
    ),
]
"""What the role of `branch` must not be able to do."""


def by_cloudformation(stage: str, environment: str) -> list[Request]:
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
        *(Request(f"iam:{name}", role, boundary) for name in with_boundary.split()),
        *(Request(f"iam:{name}", role) for name in by_name.split()),
        Request("iam:PassRole", role, {"iam:PassedToService": "lambda.amazonaws.com"}),
        *(Request(f"lambda:{name}", function) for name in of_function.split()),
        *(Request(f"logs:{name}", group) for name in of_group.split()),
        Request("logs:CreateLogGroup", f"{LOGS}/aws/http-api/todo-api-{stage}"),
        *(Request(f"s3:{name}", bucket) for name in of_bucket.split()),
        *(
            Request(f"cloudwatch:{name}", alarm)
            for name in ("PutMetricAlarm", "TagResource", "DeleteAlarms")
        ),
        Request(
            "cloudwatch:PutDashboard", f"arn:aws:cloudwatch::{ACCOUNT}:dashboard/todo-api-{stage}"
        ),
        Request("apigateway:POST", APIS, tagged("Request", stage)),
        Request("apigateway:POST", TAGS, tagged("Request", stage)),
        Request("apigateway:GET", f"{APIS}/abc", resource),
        Request("apigateway:PATCH", f"{APIS}/abc", resource),
        Request("apigateway:DELETE", f"{APIS}/abc", resource),
        *(
            Request("apigateway:POST", f"{APIS}/abc/{name}", resource)
            for name in ("integrations", "routes", "stages")
        ),
        Request("apigateway:PATCH", f"{APIS}/abc/stages/$default", resource),
        Request("apigateway:DELETE", f"{APIS}/abc/routes/def", resource),
    ]
