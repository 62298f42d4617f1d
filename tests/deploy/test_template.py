"""What `npx serverless package` makes of serverless.yml, stage by stage."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types, and comes with cfn-lint

from deploy import build
from tests.support.machine import ROOT
from tests.support.serverless import CANARY, Project
from todo_api.settings import Settings

pytestmark = pytest.mark.node

TOPIC = "arn:aws:sns:eu-central-1:123456789012:alarms"
KEY = "arn:aws:kms:eu-central-1:123456789012:key/6f1d2c3b-0000-4000-8000-000000000000"
COMMANDS = {
    "dev": [],
    "prod": ["--param", "identity-source=authorizer"],
    "branch-login": [
        *("--param", "architecture=x86_64"),
        *("--param", f"alarm-topic={TOPIC}"),
        *("--param", f"database-url-key={KEY}"),
        *("--param", "tracing=true"),
        *("--param", "reserved-concurrency=5"),
        *("--param", "requests-per-second=7"),
        *("--param", "cors-origins=https://login.example"),
    ],
}
"""The options that each stage is packaged with here: between them, each setting's default and another value."""

RESOURCES = {
    "ServerlessDeploymentBucket": "AWS::S3::Bucket",
    "ServerlessDeploymentBucketPolicy": "AWS::S3::BucketPolicy",
    "ApiLogGroup": "AWS::Logs::LogGroup",
    "IamRoleLambdaExecution": "AWS::IAM::Role",
    "ApiLambdaFunction": "AWS::Lambda::Function",
    "ApiLambdaVersion": "AWS::Lambda::Version",
    "HttpApi": "AWS::ApiGatewayV2::Api",
    "HttpApiLogGroup": "AWS::Logs::LogGroup",
    "HttpApiStage": "AWS::ApiGatewayV2::Stage",
    "ApiLambdaPermissionHttpApi": "AWS::Lambda::Permission",
    "HttpApiIntegrationApi": "AWS::ApiGatewayV2::Integration",
    "HttpApiRouteDefault": "AWS::ApiGatewayV2::Route",
    "HttpApiRouteGetReady": "AWS::ApiGatewayV2::Route",
    "ServerErrorsAlarm": "AWS::CloudWatch::Alarm",
    "LatencyAlarm": "AWS::CloudWatch::Alarm",
    "ThrottlesAlarm": "AWS::CloudWatch::Alarm",
    "ErrorsAlarm": "AWS::CloudWatch::Alarm",
}


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Project]:
    """The project packaged for each stage."""

    def package(stage: str) -> Project:
        project = Project(tmp_path_factory.mktemp(stage))
        outcome = project.run("package", "--stage", stage, *COMMANDS[stage])
        assert outcome.returncode == 0, outcome.stderr
        return project

    with ThreadPoolExecutor(len(COMMANDS)) as executor:
        return dict(zip(COMMANDS, executor.map(package, COMMANDS), strict=True))


@pytest.fixture(params=COMMANDS)
def stage(request: pytest.FixtureRequest) -> str:
    """Each stage in turn."""
    return str(request.param)


@pytest.fixture
def project(projects: dict[str, Project], stage: str) -> Project:
    """The project packaged for the stage."""
    return projects[stage]


@pytest.fixture
def resources(project: Project) -> dict[str, Any]:
    """The resources of the stage's stack. A version's logical id loses its hash."""
    return {re.sub(r"(?<=^ApiLambdaVersion).*", "", name): made for name, made in project.resources.items()}


def test_these_are_all_the_resources(stage: str, resources: dict[str, Any]) -> None:
    """What a stage consists of, and that only SnapStart needs an alias."""
    alias = {"ApiSnapStartLambdaAlias": "AWS::Lambda::Alias"} if stage == "prod" else {}
    assert {name: resource["Type"] for name, resource in resources.items()} == RESOURCES | alias


def test_cfn_lint_finds_only_what_the_framework_repeats(project: Project, stage: str) -> None:
    """The template is sound. W3005 is a DependsOn that a reference implies; all of them are osls's own."""
    lint = Path(sys.executable).with_name("cfn-lint")
    command = [str(lint), str(project.template), "--format", "json", "--regions", "eu-central-1"]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert outcome.stderr == ""
    findings = [(finding["Rule"]["Id"], finding["Location"]["Path"][1]) for finding in json.loads(outcome.stdout)]
    alias = [("W3005", "ApiSnapStartLambdaAlias")] if stage == "prod" else []
    routes = [("W3005", "HttpApiRouteDefault"), ("W3005", "HttpApiRouteGetReady")]
    assert sorted(findings) == [*alias, *routes, ("W3005", "HttpApiStage")]


def test_each_time_limit_leaves_room_for_the_one_inside(resources: dict[str, Any]) -> None:
    """The database's budget fits into the function's time, and that and a cold start into the gateway's."""
    function = resources["ApiLambdaFunction"]["Properties"]["Timeout"]
    integration = resources["HttpApiIntegrationApi"]["Properties"]["TimeoutInMillis"] / 1000
    budget = Settings.model_fields["database_timeout_seconds"].default
    assert budget + 1 < function
    assert function + 10 < integration < 30


def test_requests_are_throttled_and_ready_on_its_own(stage: str, resources: dict[str, Any]) -> None:
    """The limits, and that the route which has its own is there before they are set."""
    gateway = resources["HttpApiStage"]
    rate, burst = {"dev": (20, 40), "prod": (200, 400), "branch-login": (7, 40)}[stage]
    default = gateway["Properties"]["DefaultRouteSettings"]
    assert {name: int(value) for name, value in default.items()} == {
        "ThrottlingRateLimit": rate,
        "ThrottlingBurstLimit": burst,
    }
    ready = {"ThrottlingRateLimit": 1, "ThrottlingBurstLimit": 5}
    assert gateway["Properties"]["RouteSettings"] == {"GET /ready": ready}
    assert resources["HttpApiRouteGetReady"]["Properties"]["RouteKey"] == "GET /ready"
    assert "HttpApiRouteGetReady" in gateway["DependsOn"]


def test_every_path_reaches_the_function_and_nothing_authorizes(resources: dict[str, Any]) -> None:
    """Preflights, /health and unknown paths are the application's to answer, without a stage's prefix."""
    routes = [resource["Properties"] for resource in resources.values() if resource["Type"].endswith("V2::Route")]
    assert {route["RouteKey"] for route in routes} == {"$default", "GET /ready"}
    assert not any("AuthorizerId" in route or "AuthorizationType" in route for route in routes)
    assert resources["HttpApiStage"]["Properties"]["StageName"] == "$default"
    assert resources["HttpApiIntegrationApi"]["Properties"]["PayloadFormatVersion"] == "2.0"
    assert "CorsConfiguration" not in resources["HttpApi"]["Properties"]


def test_logs_are_json_are_kept_for_a_while_and_lead_to_each_other(stage: str, resources: dict[str, Any]) -> None:
    """The retention of both log groups, and that a line of the gateway's names both requests, and no path."""
    days = 90 if stage == "prod" else 14
    groups = [resource["Properties"] for resource in resources.values() if resource["Type"] == "AWS::Logs::LogGroup"]
    assert [group["RetentionInDays"] for group in groups] == [days, days]
    assert resources["ApiLambdaFunction"]["Properties"]["LoggingConfig"] == {"LogFormat": "JSON"}
    line = json.loads(resources["HttpApiStage"]["Properties"]["AccessLogSettings"]["Format"])
    assert line["requestId"] == "$context.requestId"
    assert line["functionRequestId"] == "$context.integration.requestId"
    assert not {"$context.path", "$context.authorizer.claims.sub"} & set(line.values())


def test_the_function_is_what_the_stage_asks_for(stage: str, resources: dict[str, Any]) -> None:
    """Architecture, concurrency, tracing and tags, and the whole environment."""
    function = resources["ApiLambdaFunction"]["Properties"]
    assert function["FunctionName"] == f"{stage}-todo-api"
    assert function["Architectures"] == ["x86_64" if stage == "branch-login" else "arm64"]
    concurrency = {"prod": 50, "branch-login": 5}
    assert function.get("ReservedConcurrentExecutions") == concurrency.get(stage)
    tracing = {"branch-login": {"Mode": "Active"}}
    assert function.get("TracingConfig") == tracing.get(stage)
    assert function["Tags"] == [{"Key": "service", "Value": "todo-api"}, {"Key": "stage", "Value": stage}]
    origins = {
        "dev": "http://localhost:3000,http://localhost:5173",
        "prod": "",
        "branch-login": "https://login.example",
    }
    assert function["Environment"]["Variables"] == {
        "NEON_DATABASE_URL_PARAMETER": f"/todo-api/{stage}/neon-database-url",
        "RES_OPTIONS": "timeout:1 attempts:2",
        "IDENTITY_SOURCE": "authorizer" if stage == "prod" else "header",
        "CORS_ORIGINS": origins[stage],
    }


def test_only_prod_is_snapshotted_and_then_called_through_its_alias(stage: str, resources: dict[str, Any]) -> None:
    """The gateway calls the published version where there is a snapshot, and the function elsewhere."""
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


def test_the_role_may_write_its_log_and_read_one_parameter(stage: str, resources: dict[str, Any]) -> None:
    """All of its rights. An asterisk is a log group's streams, or stands for X-Ray, which knows no resources."""
    (policy,) = resources["IamRoleLambdaExecution"]["Properties"]["Policies"]
    group = f"arn:${{AWS::Partition}}:logs:${{AWS::Region}}:${{AWS::AccountId}}:log-group:/aws/lambda/{stage}-todo-api"
    parameter = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter"
    key = KEY if stage == "branch-login" else {"Ref": "AWS::NoValue"}
    tracing = (["xray:PutTraceSegments", "xray:PutTelemetryRecords"], ["*"])
    assert [(rule["Effect"], rule["Action"], rule["Resource"]) for rule in policy["PolicyDocument"]["Statement"]] == [
        ("Allow", ["logs:CreateLogStream", "logs:CreateLogGroup", "logs:TagResource"], [{"Fn::Sub": f"{group}:*"}]),
        ("Allow", ["logs:PutLogEvents"], [{"Fn::Sub": f"{group}:*:*"}]),
        (
            "Allow",
            ["ssm:GetParameter", "kms:Decrypt"],
            [{"Fn::Sub": f"{parameter}/todo-api/{stage}/neon-database-url"}, key],
        ),
        *([("Allow", *tracing)] if stage == "branch-login" else []),
    ]
    assert "ManagedPolicyArns" not in resources["IamRoleLambdaExecution"]["Properties"]


def test_alarms_watch_errors_latency_and_throttles(stage: str, resources: dict[str, Any]) -> None:
    """What each looks at and when it goes off, that quiet hours are no alarm, and whom it tells."""
    api = [{"Name": "ApiId", "Value": {"Ref": "HttpApi"}}]
    function = [{"Name": "FunctionName", "Value": {"Ref": "ApiLambdaFunction"}}]
    alarms = {name: made["Properties"] for name, made in resources.items() if name.endswith("Alarm")}
    told = [TOPIC if stage == "branch-login" else {"Ref": "AWS::NoValue"}]
    for alarm in alarms.values():
        assert (alarm["AlarmActions"], alarm["OKActions"], alarm["TreatMissingData"]) == (told, told, "notBreaching")
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    rate, *counts = alarms["ServerErrorsAlarm"]["Metrics"]
    assert (rate, alarms["ServerErrorsAlarm"]["Threshold"]) == (
        {"Id": "rate", "Expression": "IF(errors >= 5, 100 * errors / requests, 0)"},
        5,
    )
    assert counts == [
        {
            "Id": name,
            "ReturnData": False,
            "MetricStat": {
                "Metric": {"Namespace": "AWS/ApiGateway", "MetricName": metric, "Dimensions": api},
                "Period": 300,
                "Stat": "Sum",
            },
        }
        for name, metric in (("errors", "5xx"), ("requests", "Count"))
    ]
    watched = {
        name: (alarm["Namespace"], alarm["MetricName"], alarm["Dimensions"], alarm["Threshold"])
        for name, alarm in alarms.items()
        if "MetricName" in alarm
    }
    assert watched == {
        "LatencyAlarm": ("AWS/ApiGateway", "Latency", api, 2000),
        "ThrottlesAlarm": ("AWS/Lambda", "Throttles", function, 0),
        "ErrorsAlarm": ("AWS/Lambda", "Errors", function, 0),
    }
    assert alarms["LatencyAlarm"]["ExtendedStatistic"] == "p95"


def test_the_zip_is_the_one_built_for_the_architecture(project: Project, stage: str) -> None:
    """What is uploaded is what deploy/build.py made, and for which processor it was told to."""
    (archive,) = (project.folder / ".serverless").glob("*.zip")
    architecture = "x86_64" if stage == "branch-login" else "arm64"
    assert ZipFile(archive).read("handler.py").decode() == f"# for {architecture}"
    key = project.resources["ApiLambdaFunction"]["Properties"]["Code"]["S3Key"]
    assert key.endswith(f"/{archive.name}")


def test_no_secret_is_packaged(project: Project) -> None:
    """The connection string in the environment of who deploys is in no file of the package."""
    files = [path.read_bytes() for path in (project.folder / ".serverless").rglob("*") if path.is_file()]
    assert len(files) == 4
    assert not any(b"canary" in content for content in files)
    assert "canary" in CANARY


def test_the_authorizer_of_the_readme_guards_v1_and_nothing_else(tmp_path: Path) -> None:
    """The README's lines: with them /v1 asks for a token, and preflights, /health and the rest do not."""
    (block,) = re.findall(r"^```yaml\n(provider:.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    project = Project(tmp_path)
    configuration = yaml.safe_load((project.folder / "serverless.yml").read_text())
    shown = yaml.safe_load(block)
    configuration["provider"]["httpApi"] |= shown["provider"]["httpApi"]
    configuration["functions"]["api"]["events"] += shown["functions"]["api"]["events"]
    (project.folder / "serverless.yml").write_text(yaml.safe_dump(configuration))
    outcome = project.run("package", "--param", "identity-source=authorizer")
    assert outcome.returncode == 0, outcome.stderr
    routes = [made["Properties"] for made in project.resources.values() if made["Type"].endswith("V2::Route")]
    assert {route["RouteKey"]: route.get("AuthorizationType") for route in routes} == {
        "$default": None,
        "GET /ready": None,
        "ANY /v1/{proxy+}": "JWT",
        "OPTIONS /v1/{proxy+}": None,
    }


def test_the_zip_that_is_deployed_is_the_real_one_and_for_arm64(tmp_path: Path) -> None:
    """Packaging runs deploy/build.py itself, and that its files are for Lambda's arm64 by default."""
    project = Project(tmp_path, build=None)
    # With all of this machine's environment, which says where packages come from.
    outcome = project.run("package", **os.environ)
    assert outcome.returncode == 0, outcome.stderr
    with ZipFile(project.folder / ".serverless" / "todo-api.zip") as archive:
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o100644}
        archive.extractall(tmp_path / "task")
    build.refuse_other_platforms(tmp_path / "task", build.Target("arm64", "3.13"))
    names = {path.name for path in (tmp_path / "task").iterdir()}
    assert {"handler.py", "todo_api", "fastapi"} <= names
    assert not names & {"tests", "migrations", "boto3", "alembic"}
    function = project.resources["ApiLambdaFunction"]["Properties"]
    assert (function["Runtime"], function["Architectures"]) == (f"python{build.PYTHON}", ["arm64"])
