"""docs/extending/4-authorizer.patch as a whole: the stack, the zip, and the way to the API."""

import json
import os
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dev import ROOT
from dev.lab.events import http_api_event
from tests.support.aws.authorizer import AUDIENCE, ISSUER, PATCH, Provider, event, load
from tests.support.aws.cloudformation import findings
from tests.support.aws.serverless import Project
from tests.support.aws.zip import LAMBDA_PYTHON, build_zip
from tests.support.http.clients import Context, invoke_app
from todo_api.app import create_app
from todo_api.settings import Settings

pytestmark = pytest.mark.slow

LOCK = ["--universal", "--python-version", "3.11", "--generate-hashes", "--quiet"]


def _apply(folder: Path, *options: str) -> None:
    command = ["git", "apply", *options, str(PATCH)]
    outcome = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr


# --- the stack ------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["dev", "prod"])
def stage(request: pytest.FixtureRequest) -> str:
    """Each stage in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def patched(stage: str, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project with the patch, packaged for the stage without any option."""
    patched = Project(tmp_path_factory.mktemp(stage))
    _apply(patched.folder, "--exclude=deploy/build.py")  # which Project replaces
    outcome = patched.run("package", "--stage", stage)
    assert outcome.returncode == 0, outcome.stderr
    return patched


@pytest.mark.node
def test_stack_has_the_authorizer_on_v1_only(patched: Project, stage: str) -> None:
    resources = {name: resource["Properties"] for name, resource in patched.resources.items()}
    routes = [
        resource["Properties"]
        for resource in patched.resources.values()
        if resource["Type"] == "AWS::ApiGatewayV2::Route"
    ]
    assert {route["RouteKey"]: route.get("AuthorizerId") for route in routes} == {
        "$default": None,
        "ANY /ready": None,
        "ANY /v1/{proxy+}": {"Ref": "HttpApiAuthorizerTokens"},
        "OPTIONS /v1/{proxy+}": None,
    }
    authorizer = resources["HttpApiAuthorizerTokens"]
    assert "AuthorizerLambdaFunction" in str(authorizer.pop("AuthorizerUri"))
    assert authorizer == {
        "ApiId": {"Ref": "HttpApi"},
        "Name": "tokens",
        "AuthorizerType": "REQUEST",
        "AuthorizerPayloadFormatVersion": "2.0",
        "EnableSimpleResponses": True,
        "IdentitySource": ["$request.header.Authorization"],
        "AuthorizerResultTtlInSeconds": 60,
    }
    api = resources["ApiLambdaFunction"]["Environment"]["Variables"]
    assert api["IDENTITY_SOURCE"] == "authorizer"
    function = resources["AuthorizerLambdaFunction"]
    assert function["FunctionName"] == f"{stage}-todo-api-authorizer"
    assert (function["Handler"], function["Timeout"]) == ("authorizer.handler", 5)
    variables = function["Environment"]["Variables"]
    assert all(variables[name] for name in ("ISSUER", "AUDIENCE", "KEYS_URL"))


@pytest.mark.node
def test_role_of_the_authorizer_may_only_write_its_log_and_traces(
    patched: Project, stage: str
) -> None:
    function = patched.resources["AuthorizerLambdaFunction"]["Properties"]
    assert function["Role"] == {"Fn::GetAtt": ["AuthorizerRole", "Arn"]}
    role = patched.resources["AuthorizerRole"]["Properties"]
    (policy,) = role["Policies"]
    logs = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:/aws/lambda"
    rules = policy["PolicyDocument"]["Statement"]
    assert [(rule["Effect"], rule["Action"], rule["Resource"]) for rule in rules] == [
        (
            "Allow",
            ["logs:CreateLogStream", "logs:PutLogEvents"],
            {"Fn::Sub": f"{logs}/{stage}-todo-api-authorizer:*"},
        ),
        ("Allow", ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "*"),
    ]
    assert "ManagedPolicyArns" not in role
    assert role["PermissionsBoundary"] == {"Ref": "AWS::NoValue"}  # of a deploy by hand


@pytest.mark.node
def test_deployers_role_allows_the_names(patched: Project, stage: str) -> None:
    deployer = (ROOT / "deploy/deployer.yml").read_text()
    role = patched.resources["AuthorizerRole"]["Properties"]["RoleName"]["Fn::Sub"]
    for kind, pattern, name in (
        ("function:", "${Environment}*-todo-api*", f"{stage}-todo-api-authorizer"),
        ("role/", "todo-api-${Environment}*-lambdaRole", role),
        (
            "log-group:",
            "/aws/lambda/${Environment}*-todo-api*",
            f"/aws/lambda/{stage}-todo-api-authorizer",
        ),
    ):
        assert f":{kind}{pattern}\n" in deployer
        assert fnmatch(name, pattern.replace("${Environment}", stage))


@pytest.mark.node
@pytest.mark.parametrize("stage", ["prod"], indirect=True, scope="module")
def test_cfn_lint_finds_only_redundant_depends_on_of_the_framework(
    patched: Project,
) -> None:
    assert {rule for rule, _ in findings(patched.template.read_text())} == {"W3005"}


# --- the zip --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def patched_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the patch, and what `make lock` then writes into requirements.txt."""
    folder = tmp_path_factory.mktemp("checkout") / "project"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "node_modules", "tests"))
    _apply(folder)
    lock = [str(Path(sys.executable).parent / "uv"), "pip", "compile", *LOCK, "pyproject.toml"]
    lock += ["--constraint", "dev/requirements-dev.txt", "--output-file", "requirements.txt"]
    environment = os.environ | {"UV_SYSTEM_CERTS": "1"}
    outcome = subprocess.run(
        lock, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stderr
    return folder


def test_authorizer_passes_the_checks(patched_folder: Path) -> None:
    for check in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]):
        command = [sys.executable, "-m", *check, "authorizer.py"]
        outcome = subprocess.run(
            command, cwd=patched_folder, capture_output=True, text=True, check=False
        )
        assert outcome.returncode == 0, outcome.stdout


@pytest.mark.linux
def test_zip_holds_the_authorizer_which_accepts_a_token(
    patched_folder: Path, tmp_path: Path, provider: Provider
) -> None:
    archive = build_zip(tmp_path / "todo-api.zip", patched_folder)
    shutil.unpack_archive(archive, tmp_path / "task")
    program = (
        "import authorizer, json, sys;"
        "print(json.dumps(authorizer.handler(json.loads(sys.argv[1]), None)))"
    )
    outcome = subprocess.run(
        [
            LAMBDA_PYTHON or sys.executable,
            "-c",
            program,
            json.dumps(event(f"Bearer {provider.token('RS256')}")),
        ],
        cwd=tmp_path / "task",
        env={"ISSUER": ISSUER, "AUDIENCE": AUDIENCE, "KEYS_URL": provider.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.stdout == '{"isAuthorized": true, "context": {"sub": "ada"}}\n', outcome.stderr


# --- the way to the API ---------------------------------------------------------------------------


@pytest.mark.parametrize("sub", ["auth0|5fe435b5cbbc85006b071eba", "user:85290b7e8cb51db9", "1"])
def test_what_the_authorizer_returns_is_the_caller_of_the_api(
    authorizer_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    provider: Provider,
    environment: dict[str, str],
    sub: str,
) -> None:
    authorizer: ModuleType = load(authorizer_path, monkeypatch, provider.url)
    app = create_app(
        Settings(neon_database_url=environment["NEON_DATABASE_URL"], identity_source="authorizer")
    )
    answer: dict[str, Any] = authorizer.handler(
        event(f"Bearer {provider.token('ES256', sub=sub)}"), None
    )

    # API Gateway passes `context` on as `requestContext.authorizer.lambda`.
    request = http_api_event(
        "POST",
        "/v1/todos",
        {"Content-Type": "application/json", "X-User-Id": "mallory"},
        b'{"title": "x"}',
        authorizer={"lambda": answer["context"]},
    )
    response = invoke_app(app, request, Context())

    assert response.status == 201
    assert response.json()["user_id"] == sub
