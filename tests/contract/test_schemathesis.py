"""Schemathesis compares the API with its OpenAPI document, through both entry points."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from schemathesis.checks import CHECKS, load_all_checks

from dev import ROOT
from dev.ports import free_port
from tests.support.aws.gateway import token_of
from tests.support.documents.openapi import OPERATIONS
from tests.support.http.clients import Api, through_http
from tests.support.http.servers import start_server

pytestmark = pytest.mark.slow

SEED = 20_261_120
PHASES = ["examples", "coverage", "fuzzing", "stateful"]
ON_ONE_TODO = {
    (operation.method, operation.path)
    for operation in OPERATIONS.values()
    if operation.path.startswith("/v1/todos/{id}")
}


@pytest.fixture
def gateway_port(environment: dict[str, str]) -> Iterator[int]:
    """The port of an HTTP API with a JWT authorizer, which calls the Lambda handler."""
    port = free_port()
    server = start_server(
        port, environment | {"IDENTITY_SOURCE": "authorizer"}, module="tests.support.aws.gateway"
    )
    yield port
    server.terminate()
    server.wait()


@pytest.mark.parametrize("entry_point", ["lambda", pytest.param("local", marks=pytest.mark.soak)])
def test_api_matches_its_document_and_another_users_todos_stay_unchanged(
    request: pytest.FixtureRequest, tmp_path: Path, entry_point: str, *, soak: bool
) -> None:
    port: int = request.getfixturevalue(
        {"lambda": "gateway_port", "local": "local_port"}[entry_point]
    )
    call = Api(through_http(port))
    users = {name: f"{name}-by-{entry_point}" for name in ("caller", "peer")}
    identities = {
        name: {"Authorization": f"Bearer {token_of(user)}"}
        if entry_point == "lambda"
        else {"X-User-Id": user}
        for name, user in users.items()
    }
    for number in range(3):
        for identity in identities.values():
            todo = {"title": f"Todo {number}"}
            assert call("POST", "/v1/todos", headers=identity, json=todo).status == 201
    before = call("GET", "/v1/todos", headers=identities["peer"]).json()
    todos_of_the_peer = {todo["id"] for todo in before["items"]}

    shutil.copy(ROOT / "tests/contract/schemathesis.toml", tmp_path)
    (tmp_path / "todos-of-the-peer.txt").write_text(
        "".join(f'"{todo}"\n' for todo in todos_of_the_peer)
    )
    auth = [
        {
            "name": name,
            "fixedHeaders": [{"name": field, "value": value} for field, value in identity.items()],
        }
        for name, identity in identities.items()
    ]
    (tmp_path / "users.json").write_text(json.dumps({"auth": auth}))
    command = [sys.executable, "-m", "schemathesis.cli", "run"]
    command += [f"http://127.0.0.1:{port}/openapi.json", "--phases", ",".join(PHASES), "--no-color"]
    command += ["--max-time", "300"] if soak else ["--seed", str(SEED), "--max-examples", "20"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ENTRY_POINT": entry_point}
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, stderr=subprocess.STDOUT, timeout=900, check=False
    )
    assert run.returncode == 0

    report = json.loads((tmp_path / "report.json").read_text())
    assert {phase: report["phases"][phase]["status"] for phase in PHASES} == dict.fromkeys(
        PHASES, "success"
    )
    assert report["complete"]
    cases = list(_cases(tmp_path / "events.ndjson"))
    assert len(cases) == report["test_cases"]["generated"] >= 500  # 1,000 in both runs
    load_all_checks()
    assert {check for case in cases for check in case["checks"]} == set(CHECKS.get_all_names())
    succeeded = {
        case["operation"]
        for case in cases
        if case["phase"] == "stateful" and case["status"] in (200, 204)
    }
    assert succeeded >= ON_ONE_TODO
    not_found = {
        case["operation"]
        for case in cases
        if case["id"] in todos_of_the_peer and case["status"] == 404
    }
    assert not_found >= ON_ONE_TODO
    assert call("GET", "/v1/todos", headers=identities["peer"]).json() == before


def _cases(events: Path) -> Iterator[dict[str, Any]]:
    """Read each case of the report: request, status of the response, names of the checks."""
    with events.open() as lines:
        for line in lines:
            scenario = json.loads(line).get("ScenarioFinished", {"recorder": {}})
            recorder = scenario["recorder"]
            for name, case in recorder.get("cases", {}).items():
                response = recorder["interactions"].get(name, {}).get("response") or {}
                yield {
                    "phase": scenario["phase"],
                    "operation": (case["value"]["method"], case["value"]["path"]),
                    "id": (case["value"].get("path_parameters") or {}).get("id"),
                    "status": response.get("status_code"),
                    "checks": [check["name"] for check in recorder["checks"].get(name) or []],
                }
