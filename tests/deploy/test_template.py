"""The CloudFormation template of each stage, made by `npx serverless package`."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import yaml
from syrupy.assertion import SnapshotAssertion

from deploy import build
from dev import ROOT
from tests.support.aws.cloudformation import findings
from tests.support.aws.serverless import CANARY, KEY, STAGE_OPTIONS, Project
from todo_api.settings import Settings

pytestmark = [pytest.mark.node, pytest.mark.slow]

WITH_CLAIMS_OF_THEIR_OWN = {
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::Logs::MetricFilter",
}
"""The types of the resources that test_alarms.py is about."""


@pytest.fixture(scope="module", params=STAGE_OPTIONS)
def stage(request: pytest.FixtureRequest) -> str:
    """Each stage in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def project(stage: str, packaged: Callable[[str], Project]) -> Project:
    """The project packaged for the stage."""
    return packaged(stage)


@pytest.fixture
def resources(project: Project) -> dict[str, Any]:
    """The resources of the stage's stack, without the hash in the version's logical ID."""
    return {
        re.sub(r"(?<=^ApiLambdaVersion).*", "", name): resource
        for name, resource in project.resources.items()
    }


def test_stack_is_the_reviewed_one(
    stage: str, resources: dict[str, Any], snapshot: SnapshotAssertion
) -> None:
    """After a change that is meant: `pytest tests/deploy/test_template.py --snapshot-update`."""
    shown = {
        name: {"Type": resource["Type"]}
        if resource["Type"] in WITH_CLAIMS_OF_THEIR_OWN
        else resource
        for name, resource in resources.items()
    }
    assert _without_generated_values(shown, stage) == snapshot


def _without_generated_values(shown: dict[str, Any], stage: str) -> Any:
    """Replace what differs from one build of the zip to the next."""
    text = json.dumps(shown)
    text = re.sub(rf"serverless/todo-api/{stage}/[^/\"]+/", "serverless/*/", text)
    text = re.sub(r'"CodeSha256": "[^"]+"', '"CodeSha256": "*"', text)
    return json.loads(re.sub(r'"ApiLambdaVersion\w+"', '"ApiLambdaVersion"', text))


def test_cfn_lint_finds_only_redundant_depends_on_of_the_framework(
    project: Project, stage: str
) -> None:
    """W3005 is a DependsOn that a reference implies."""
    alias = ["ApiSnapStartLambdaAlias"] if stage == "prod" else []
    resources = [*alias, "HttpApiRouteAnyReady", "HttpApiRouteDefault", "HttpApiStage"]
    assert findings(project.template.read_text()) == [("W3005", name) for name in resources]


def test_database_timeout_is_below_the_functions_and_that_below_the_gateways(
    resources: dict[str, Any],
) -> None:
    function = resources["ApiLambdaFunction"]["Properties"]["Timeout"]
    integration = resources["HttpApiIntegrationApi"]["Properties"]["TimeoutInMillis"] / 1000
    database = Settings.model_fields["database_timeout_seconds"].default
    assert database + 1 < function
    assert function + 10 < integration < 30  # 10 s for a cold start


def test_requests_are_throttled_and_ready_has_its_own_limits(
    stage: str, resources: dict[str, Any]
) -> None:
    gateway = resources["HttpApiStage"]
    rate, burst = {"dev": (20, 40), "prod": (200, 400), "branch-login": (7, 40)}[stage]
    default = gateway["Properties"]["DefaultRouteSettings"]
    limits = {name: int(value) for name, value in default.items()}
    assert limits == {"ThrottlingRateLimit": rate, "ThrottlingBurstLimit": burst}
    function = resources["ApiLambdaFunction"]["Properties"]
    concurrency = {"dev": None, "prod": 50, "branch-login": 5}[stage]
    assert function.get("ReservedConcurrentExecutions") == concurrency
    ready = {"ThrottlingRateLimit": 1, "ThrottlingBurstLimit": 5}
    assert gateway["Properties"]["RouteSettings"] == {"ANY /ready": ready}
    assert resources["HttpApiRouteAnyReady"]["Properties"]["RouteKey"] == "ANY /ready"
    # The stage rejects settings of a missing route.
    assert "HttpApiRouteAnyReady" in gateway["DependsOn"]


def test_gateway_forwards_every_path_without_prefix_authorizer_or_cors(
    resources: dict[str, Any],
) -> None:
    routes = [
        resource["Properties"]
        for resource in resources.values()
        if resource["Type"].endswith("V2::Route")
    ]
    assert {route["RouteKey"] for route in routes} == {"$default", "ANY /ready"}
    assert not any("AuthorizerId" in route or "AuthorizationType" in route for route in routes)
    assert resources["HttpApiStage"]["Properties"]["StageName"] == "$default"
    assert resources["HttpApiIntegrationApi"]["Properties"]["PayloadFormatVersion"] == "2.0"
    assert "CorsConfiguration" not in resources["HttpApi"]["Properties"]


def test_logs_are_json_expire_and_share_request_ids(stage: str, resources: dict[str, Any]) -> None:
    """The access log has the request IDs of gateway and function, but neither path nor user."""
    days = 90 if stage == "prod" else 14
    groups = [
        resource["Properties"]
        for resource in resources.values()
        if resource["Type"] == "AWS::Logs::LogGroup"
    ]
    assert [group["RetentionInDays"] for group in groups] == [days, days]
    assert resources["ApiLambdaFunction"]["Properties"]["LoggingConfig"] == {"LogFormat": "JSON"}
    line = json.loads(resources["HttpApiStage"]["Properties"]["AccessLogSettings"]["Format"])
    assert line["requestId"] == "$context.requestId"
    assert line["functionRequestId"] == "$context.integration.requestId"
    assert not {"$context.path", "$context.authorizer.claims.sub"} & set(line.values())


def test_function_has_the_identity_source_and_origins_of_its_stage(
    stage: str, resources: dict[str, Any]
) -> None:
    function = resources["ApiLambdaFunction"]["Properties"]
    assert function["Runtime"] == f"python{build.PYTHON}"
    variables = function["Environment"]["Variables"]
    development = "http://localhost:3000,http://localhost:5173"
    origins = {"dev": development, "prod": "", "branch-login": "https://login.example"}
    assert variables["IDENTITY_SOURCE"] == ("authorizer" if stage == "prod" else "header")
    assert variables["CORS_ORIGINS"] == origins[stage]
    parameter = f"/todo-api/{stage}/neon-database-url-runtime"
    assert variables["NEON_DATABASE_URL_PARAMETER"] == parameter


def test_only_prod_has_snapstart_and_is_called_through_the_alias(
    stage: str, resources: dict[str, Any]
) -> None:
    function = {"Fn::GetAtt": ["ApiLambdaFunction", "Arn"]}
    called = resources["HttpApiIntegrationApi"]["Properties"]["IntegrationUri"]
    permitted = resources["ApiLambdaPermissionHttpApi"]["Properties"]["FunctionName"]
    snapshot = resources["ApiLambdaFunction"]["Properties"].get("SnapStart")
    if stage != "prod":
        assert (called, permitted, snapshot) == (function, function, None)
        return
    alias = {"Fn::Join": [":", [function, "snapstart"]]}
    assert (called, permitted, snapshot) == (alias, alias, {"ApplyOn": "PublishedVersions"})
    assert resources["ApiSnapStartLambdaAlias"]["Properties"]["Name"] == "snapstart"


def test_role_may_only_write_its_log_and_traces_and_read_one_parameter(
    stage: str, resources: dict[str, Any]
) -> None:
    (policy,) = resources["IamRoleLambdaExecution"]["Properties"]["Policies"]
    groups = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group"
    group = f"{groups}:/aws/lambda/{stage}-todo-api"
    parameter = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter"
    key = KEY if stage == "branch-login" else {"Ref": "AWS::NoValue"}
    # X-Ray has no resources.
    tracing = ("Allow", ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], ["*"])
    secrets = [{"Fn::Sub": f"{parameter}/todo-api/{stage}/neon-database-url-runtime"}, key]
    rules = [
        (rule["Effect"], rule["Action"], rule["Resource"])
        for rule in policy["PolicyDocument"]["Statement"]
    ]
    assert rules == [
        (
            "Allow",
            ["logs:CreateLogStream", "logs:CreateLogGroup", "logs:TagResource"],
            [{"Fn::Sub": f"{group}:*"}],
        ),
        ("Allow", ["logs:PutLogEvents"], [{"Fn::Sub": f"{group}:*:*"}]),
        ("Allow", ["ssm:GetParameter", "kms:Decrypt"], secrets),
        ("Deny", ["logs:CreateLogGroup"], "*"),
        *([tracing] if stage == "branch-login" else []),
    ]
    assert "ManagedPolicyArns" not in resources["IamRoleLambdaExecution"]["Properties"]
    assert "ApiLogGroup" in resources["ApiLambdaFunction"]["DependsOn"]  # or its lines are lost


def test_uploaded_zip_is_built_for_the_architecture_of_the_stage(
    project: Project, stage: str
) -> None:
    (archive,) = (project.folder / ".serverless").glob("*.zip")
    architecture = "x86_64" if stage == "branch-login" else "arm64"
    assert ZipFile(archive).read("handler.py").decode() == f"# for {architecture}"
    function = project.resources["ApiLambdaFunction"]["Properties"]
    assert function["Architectures"] == [architecture]
    assert function["Code"]["S3Key"].endswith(f"/{archive.name}")


def test_database_url_in_the_environment_is_not_packaged(project: Project) -> None:
    files = [
        path.read_bytes() for path in (project.folder / ".serverless").rglob("*") if path.is_file()
    ]
    assert len(files) == 4
    assert not any(CANARY.encode() in content for content in files)


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_documented_authorizer_protects_v1_but_not_preflights_or_other_paths(
    tmp_path: Path, stage: str
) -> None:
    page = (ROOT / "docs/authorizers.md").read_text()
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    project = Project(tmp_path)
    configuration = yaml.safe_load((project.folder / "serverless.yml").read_text())
    shown = yaml.safe_load(block)
    for name, parameters in shown["params"].items():
        configuration["params"][name] |= parameters
    configuration["provider"]["httpApi"] |= shown["provider"]["httpApi"]
    configuration["functions"]["api"]["events"] += shown["functions"]["api"]["events"]
    (project.folder / "serverless.yml").write_text(yaml.safe_dump(configuration))
    outcome = project.run("package", "--stage", stage)
    assert outcome.returncode == 0, outcome.stderr
    function = project.resources["ApiLambdaFunction"]["Properties"]
    assert function["Environment"]["Variables"]["IDENTITY_SOURCE"] == "authorizer"
    resources = project.resources.values()
    routes = [
        resource["Properties"] for resource in resources if resource["Type"].endswith("V2::Route")
    ]
    assert {route["RouteKey"]: route.get("AuthorizationType") for route in routes} == {
        "$default": None,
        "ANY /ready": None,
        "ANY /v1/{proxy+}": "JWT",
        "OPTIONS /v1/{proxy+}": None,
    }


def test_package_runs_the_real_build_for_arm64_by_default(tmp_path: Path) -> None:
    project = Project(tmp_path)
    shutil.copy(ROOT / "deploy/build.py", project.folder / "deploy")
    outcome = project.run("package", **os.environ)  # which has the settings of the package index
    assert outcome.returncode == 0, outcome.stderr
    with ZipFile(project.folder / ".serverless/todo-api.zip") as archive:
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o100644}
        archive.extractall(tmp_path / "task")
    build.refuse_other_platforms(tmp_path / "task", build.Target("arm64", "3.13"))
    assert {"handler.py", "todo_api", "fastapi"} <= {
        path.name for path in (tmp_path / "task").iterdir()
    }
