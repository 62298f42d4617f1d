"""The Lambda zip under AWS's own runtime client."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path

import pytest

from deploy import build
from dev import ROOT
from dev.lab.events import REQUEST_ID, http_api_event
from dev.lab.proxy import TrafficCounter
from tests.support.aws.lambda_runtime import Failed, Function
from tests.support.aws.zip import LAMBDA_PYTHON, PATH_WITH_UV, TARGET
from tests.support.documents.operations import Operation
from tests.support.documents.traffic import each_operation, traffic_of, traffic_of_refused
from tests.support.http.clients import Api, response_of

pytestmark = [pytest.mark.linux, pytest.mark.slow]

RUNTIME_PACKAGES = ["awslambdaric", "simplejson", "snapshot-restore-py", "boto3", "botocore"]
RUNTIME_PACKAGES += ["jmespath", "python-dateutil", "s3transfer", "six", "urllib3"]

Start = Callable[..., AbstractContextManager[Function]]
_numbers = count(1)


@pytest.fixture(scope="session")
def start(
    task: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Start:
    """Start the function as Lambda does, with only the packages of the runtime and of the zip."""
    folder = tmp_path_factory.mktemp("runtime")
    lock = (ROOT / "dev/requirements-dev.txt").read_text()
    entries = [
        re.findall(rf"^{name}==.*\n(?:    .*\n)+", lock, re.MULTILINE)[0]
        for name in RUNTIME_PACKAGES
    ]
    (folder / "requirements.txt").write_text("".join(entries))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", PATH_WITH_UV)
        build.fetch(folder / "requirements.txt", TARGET, folder)

    def run(**variables: str) -> AbstractContextManager[Function]:
        command = [LAMBDA_PYTHON or sys.executable, "-s", "-S"]
        command += ["-m", "awslambdaric", "handler.handler"]
        defaults = {
            "PYTHONPATH": str(folder),
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{TARGET.python}",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
        }
        return Function(folder / f"{next(_numbers)}.log").running(
            command, task, defaults | environment | variables
        )

    return run


@pytest.fixture(scope="module")
def function(start: Start) -> Iterator[Function]:
    """The running function."""
    with start() as running:
        yield running


def _api(function: Function) -> Api:
    return Api(lambda *request: response_of(function.invoke(http_api_event(*request))))


@each_operation
def test_each_operation_works_with_one_statement_or_none(
    function: Function, wire: TrafficCounter, operation: Operation
) -> None:
    api = _api(function)
    counted = traffic_of(operation, api, wire, delay=0)
    refused = traffic_of_refused(operation, api, wire)
    needed = int(operation.uses_the_database)
    for each in counted.values():
        assert (each.connections, each.statements) == (needed, needed)
    for each in refused.values():
        assert (each.connections, each.statements) == (0, 0)


def test_log_line_is_json_with_lambdas_and_our_request_id(function: Function) -> None:
    path = "/v1/todos/00000000-0000-0000-0000-000000000000"
    assert _api(function)("GET", path, user="x").status == 404
    line = json.loads(function.log().splitlines()[-1])
    line.pop("taskName", None)  # the name of the asyncio task, since Python 3.12
    milliseconds = [line.pop(f"{name}milliseconds") for name in ("", "connect_", "statement_")]
    assert all(isinstance(value, float) for value in milliseconds)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line.pop("timestamp"))
    assert line == {
        "level": "INFO",
        "message": "request",
        "logger": "todo_api",
        "requestId": function.last_request_id,
        "request_id": REQUEST_ID,
        "method": "GET",
        "route": "/v1/todos/{id}",
        "status": 404,
        "problem": "todo-not-found",
        "attempts": 1,
    }


def test_invalid_setting_fails_the_start_without_showing_its_value(start: Start) -> None:
    with pytest.raises(Failed) as failed, start(NEON_DATABASE_URL="mysql://me:s3cr3t@host/db"):
        pass
    assert (failed.value.path, failed.value.report["errorType"]) == ("init/error", "SettingsError")
    message = "must start with postgresql://, postgres:// or postgresql+psycopg2://."
    assert failed.value.report["errorMessage"] == (
        f"The environment variable NEON_DATABASE_URL is not usable: {message}"
    )
    assert "s3cr3t" not in str(failed.value.report)


def test_only_the_bytecode_of_the_zip_runs_and_nothing_is_written(start: Start, task: Path) -> None:
    before = _file_times_and_sizes(task)
    with start(PYTHONVERBOSE="1") as function:
        assert _api(function)("POST", "/v1/todos", user="x", json={"title": "x"}).status == 201
    sources = re.findall(rf"^# code object from '?{task}/(.+?)'?$", function.log(), re.MULTILINE)
    assert len(sources) > 400
    assert [path for path in sources if not path.endswith(".pyc")] == []
    assert f"# wrote '{task}" not in function.log()
    assert _file_times_and_sizes(task) == before


def _file_times_and_sizes(folder: Path) -> dict[Path, tuple[int, int]]:
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_size)
        for path in [folder, *folder.rglob("*")]
    }


@pytest.mark.parametrize(
    "parameter", ["", "/todo-api/test/neon-database-url"], ids=["URL", "parameter"]
)
def test_snapstart_connects_and_reads_the_parameter_only_after_the_restore(
    start: Start, environment: dict[str, str], wire: TrafficCounter, parameter: str
) -> None:
    url = environment["NEON_DATABASE_URL"]
    variables = {
        "NEON_DATABASE_URL": "" if parameter else url,
        "NEON_DATABASE_URL_PARAMETER": parameter,
    }
    with (
        wire.watch() as traffic,
        start(AWS_LAMBDA_INITIALIZATION_TYPE="snap-start", **variables) as function,
    ):
        assert function.calls == ["restore/next", "invocation/next"]
        assert (traffic.connections, traffic.statements, function.log()) == (0, [], "")
        function.parameter = url
        for status in (201, 201):
            response = _api(function)("POST", "/v1/todos", user="zoe", json={"title": "x"})
            assert response.status == status
        assert function.calls.count("AmazonSSM.GetParameter") == bool(parameter)
