"""`make deploy` in a fresh clone, and `npx serverless` where nothing is installed."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dev import ROOT
from dev.lab.sql import run_sql
from tests.support.aws.fake_aws import Aws
from tests.support.aws.serverless import Project
from tests.support.http.clients import Response
from tests.support.http.http_server import serving
from tests.support.machine import NODE_TOOLS

pytestmark = [pytest.mark.node, pytest.mark.slow]

STAGE = "branch-login"
PARAMETER = f"/todo-api/{STAGE}/neon-database-url"
NPM = f"""#!/bin/sh
echo "npm $@" >>.venv/started
mkdir node_modules
ln -s {NODE_TOOLS} {ROOT}/node_modules/osls {ROOT}/node_modules/@aws-sdk node_modules
"""
"""An npm that takes the packages from this machine's node_modules."""


@pytest.fixture
def bare_project(project: Project) -> Project:
    """A copy of the project in which `npm ci` has not run."""
    shutil.copy(ROOT / ".npmrc", project.folder)
    (project.folder / "node_modules").unlink()
    return project


def make_deploy(
    bare_project: Project, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `make deploy` with an npm that needs no network."""
    npm = bare_project.folder.parent / "bin/npm"
    npm.parent.mkdir()
    npm.write_text(NPM)
    npm.chmod(0o755)
    environment = {"PATH": f"{npm.parent}:{os.environ['PATH']}", **environment}
    return bare_project.execute("make", "deploy", *arguments, **environment)


def started(bare_project: Project) -> list[str]:
    """Return the commands that npm and the project's Python have got."""
    log = bare_project.folder / ".venv/started"
    return log.read_text().splitlines() if log.exists() else []


def test_make_deploy_installs_osls_migrates_to_the_newest_revision_and_deploys_with_parameters(
    bare_project: Project, new_database: Callable[[], str]
) -> None:
    uri = new_database()
    aws = Aws({PARAMETER: uri})
    parameters = "PARAMS=--param architecture=x86_64 --param cors-origins=https://a.example"
    with serving(aws) as url:
        outcome = make_deploy(
            bare_project, f"STAGE={STAGE}", parameters, "REVISION=base", AWS_ENDPOINT_URL=url
        )
    assert outcome.returncode == 0, outcome.stderr
    assert started(bare_project) == [
        "npm ci --silent",
        "-m deploy.check_settings",
        "-m migrations",
        f"-m deploy.runtime_login {STAGE} --request-seconds 15",
    ]
    assert f"Service deployed to stack todo-api-{STAGE}" in outcome.stderr
    function = bare_project.resources["ApiLambdaFunction"]["Properties"]
    assert (function["FunctionName"], function["Architectures"]) == (
        f"{STAGE}-todo-api",
        ["x86_64"],
    )
    assert function["Environment"]["Variables"]["CORS_ORIGINS"] == "https://a.example"


def test_make_that_ignores_errors_does_not_deploy_after_a_failed_migration(
    bare_project: Project, new_database: Callable[[], str]
) -> None:
    uri = new_database()
    run_sql(uri, "CREATE TABLE todos (other text)")
    aws = Aws({PARAMETER: uri})
    with serving(aws) as url:
        outcome = make_deploy(
            bare_project, f"STAGE={STAGE}", "--ignore-errors", AWS_ENDPOINT_URL=url
        )
    assert "The migration failed, and nothing is deployed" in " ".join(
        (outcome.stdout + outcome.stderr).split()
    )
    assert aws.writes == []


@pytest.mark.parametrize("arguments", [[], ["stage=dev"], ["STAGE="]])
def test_make_deploy_without_a_stage_is_refused_before_anything_is_installed(
    bare_project: Project, arguments: list[str]
) -> None:
    outcome = make_deploy(bare_project, *arguments)
    assert (outcome.returncode, outcome.stdout, outcome.stderr.count("\n")) == (2, "", 1)
    hint = "Name the stage: make deploy STAGE=dev, STAGE=prod or STAGE=branch-NAME"
    assert hint in outcome.stderr
    assert not started(bare_project)


def test_make_deploy_without_a_new_enough_node_is_refused_with_the_versions_that_it_needs(
    bare_project: Project, tmp_path: Path
) -> None:
    (tmp_path / "node").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "node").chmod(0o755)
    outcome = make_deploy(bare_project, "STAGE=dev", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (outcome.returncode, outcome.stdout, outcome.stderr.count("\n")) == (2, "", 1)
    assert "A deploy needs Node.js 20.19, 22.13, 24 or newer" in outcome.stderr


def test_npx_serverless_before_npm_ci_does_not_download_the_vendors_package(
    bare_project: Project,
) -> None:
    paths = []

    def registry(_method: str, path: str, _headers: dict[str, str], _body: bytes) -> Response:
        paths.append(path)
        tarball = f"{url}/serverless.tgz"
        release = {
            "name": "serverless",
            "version": "4.0.0",
            "bin": "run.js",
            "dist": {"tarball": tarball},
        }
        package = {
            "name": "serverless",
            "dist-tags": {"latest": "4.0.0"},
            "versions": {"4.0.0": release},
        }
        return Response(200 if path == "/serverless" else 404, {}, json.dumps(package).encode())

    with serving(registry) as url:
        outcome = bare_project.execute("npx", "serverless", "deploy", npm_config_registry=url)
    assert outcome.returncode == 1
    assert "npx canceled due to missing packages" in outcome.stderr
    assert "/serverless.tgz" not in paths
