"""The Lambda zip: built the same way everywhere, refused when it is wrong, and run by AWS's own runtime client."""

import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from deploy import build
from deploy.build import Refused, Target
from tests.support.clients import Api, response_of
from tests.support.events import REQUEST_ID, http_api_event
from tests.support.lambda_runtime import Failed, Function
from tests.support.machine import ROOT
from tests.support.proxy import TrafficCounter
from tests.support.requests import ON_THE_DATABASE, REFUSED, sender
from tests.support.users import new_user

ARCHITECTURE = "x86_64" if platform.machine() in ("x86_64", "AMD64") else "arm64"
LAMBDAS_PYTHON = build.interpreter(build.PYTHON)
TARGET = Target(ARCHITECTURE, build.PYTHON if LAMBDAS_PYTHON else "{}.{}".format(*sys.version_info))
"""What this machine can run: Lambda's Python where there is one, and otherwise that of the tests."""

WITH_UV = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
IN_THE_RUNTIME = ["awslambdaric", "simplejson", "snapshot-restore-py"]
IN_THE_RUNTIME += ["boto3", "botocore", "jmespath", "python-dateutil", "s3transfer", "six", "urllib3"]
_numbers = count(1)


def _build(output: Path, target: Target, root: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(root / "deploy/build.py"), "--output", str(output)]
    command += ["--architecture", target.architecture, "--python", target.python]
    environment = os.environ | {"PATH": WITH_UV, **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def _built(output: Path, target: Target, root: Path = ROOT, **environment: str) -> Path:
    outcome = _build(output, target, root, **environment)
    assert outcome.returncode == 0, outcome.stderr
    said = re.fullmatch(r"(.+): ([\d.]+) MB zipped, ([\d.]+) MB unzipped\n", outcome.stdout)
    assert said
    assert said[1] == str(output)
    print(outcome.stdout)
    return output


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip for this machine's processor."""
    return _built(tmp_path_factory.mktemp("zip") / "todo-api.zip", TARGET)


@pytest.fixture(scope="session")
def task(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Lambda unpacks to /var/task."""
    folder = tmp_path_factory.mktemp("task")
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Another checkout of what the build reads, with other file times."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "todo_api", folder / "todo_api")
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    for name in ("handler.py", "requirements.txt", "README.md"):
        shutil.copyfile(ROOT / name, folder / name)
    os.utime(folder / "handler.py", (0, 0))
    return folder


@pytest.fixture
def tampered(task: Path, tmp_path: Path) -> Path:
    """Another folder with the files of the zip, to take away from and to add to."""
    return Path(shutil.copytree(task, tmp_path / "tampered", copy_function=os.link))


# --- the build --------------------------------------------------------------------------------------------------------


def test_the_same_input_gives_the_same_bytes(archive: Path, checkout: Path, tmp_path: Path) -> None:
    """For another checkout with another README, another temporary folder, another seed, and pip for uv."""
    (checkout / "README.md").write_text("<!-- nothing that is deployed -->\n")
    programs, temporary = tmp_path / "programs", tmp_path / "temporary"
    programs.mkdir()
    temporary.mkdir()
    if LAMBDAS_PYTHON:
        (programs / f"python{build.PYTHON}").symlink_to(LAMBDAS_PYTHON)
    environment = {"PATH": str(programs), "TMPDIR": str(temporary), "PYTHONHASHSEED": "7"}
    again = _built(tmp_path / "again.zip", TARGET, checkout, **environment)
    assert again.read_bytes() == archive.read_bytes()


def test_the_zip_holds_our_code_and_what_it_needs(task: Path) -> None:
    """There is all of requirements.txt, our own code, nothing else, and bytecode for every module."""
    wanted = re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    there = [path.name.partition("-")[0].replace("_", "-") for path in task.glob("*.dist-info")]
    assert sorted(there) == sorted(wanted)
    assert not {"boto3", "botocore", "migrations", "tests", "dev", "deploy", "bin"} & {p.name for p in task.iterdir()}
    ours = [ROOT / "handler.py", *(ROOT / "todo_api").rglob("*.py")]
    unpacked = [path for path in (task / "todo_api").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert {path.relative_to(task) for path in unpacked} == {path.relative_to(ROOT) for path in ours[1:]}
    for path in ours:
        assert (task / path.relative_to(ROOT)).read_bytes() == path.read_bytes()
    compiled = {path.parent.parent / f"{path.name.split('.')[0]}.py" for path in task.rglob("*.pyc")}
    assert compiled == set(task.rglob("*.py"))


def test_without_the_targets_python_the_build_says_what_that_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is a zip all the same, and a sentence."""
    monkeypatch.setattr(build, "interpreter", lambda _: None)
    (tmp_path / "module.py").touch()
    build.compile_all(tmp_path, Target())
    assert list(tmp_path.iterdir()) == [tmp_path / "module.py"]
    assert capsys.readouterr().err == (
        "Warning: there is no Python 3.13 here, so the zip holds no bytecode, and the function takes 3 to 4 times as "
        "long to start. To get one: uv python install 3.13\n"
    )


# --- what the build refuses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (".env", "A=1", ".env is named like a secret: move it out of todo_api."),
        ("server.key", "A=1", "server.key is named like a secret: move it out of todo_api."),
        ("ca.pem", "-----BEGIN RSA PRIVATE KEY-----", "ca.pem has something like a secret in line 2"),
        ("more.py", "URL = 'postgresql://me:s3cr3t@ep-x/db'", "more.py has something like a secret in line 2"),
        ("more.py", "KEY = 'AKIAIOSFODNN7EXAMPLE'", "more.py has something like a secret in line 2"),
        ("more.py", "PASSWORD = 'npg_Ab1Cd2Ef3Gh4'", "more.py has something like a secret in line 2"),
    ],
)
def test_a_secret_in_our_code_is_refused(checkout: Path, name: str, content: str, sentence: str) -> None:
    """One sentence on stderr that names the place and not the secret, exit code 1, and no zip."""
    (checkout / "todo_api" / name).write_text(f"\n{content}\n")
    outcome = _build(checkout / "todo-api.zip", TARGET, checkout)
    assert (outcome.returncode, outcome.stdout, outcome.stderr.count("\n")) == (1, "", 1)
    assert outcome.stderr.startswith(f"todo_api/{sentence}")
    assert content not in outcome.stderr
    assert not (checkout / "todo-api.zip").exists()


def test_a_wheel_with_another_hash_is_refused(checkout: Path) -> None:
    """Nothing gets in but what the lock file names."""
    lock = checkout / "requirements.txt"
    lock.write_text(re.sub(r"sha256:[0-9a-f]{4}", "sha256:0000", lock.read_text()))
    outcome = _build(checkout / "todo-api.zip", TARGET, checkout)
    assert outcome.returncode == 1
    said = "Not every wheel of requirements.txt could be fetched, see above. It takes uv or pip.\n"
    assert outcome.stderr.endswith(said)


def test_another_architecture_is_refused(task: Path, tampered: Path) -> None:
    """For a wheel's tags, and for what a library's own header says."""
    other = Target({"arm64": "x86_64", "x86_64": "arm64"}[ARCHITECTURE], TARGET.python)
    with pytest.raises(Refused, match=rf"^The wheel [a-z0-9_.-]+ is not made for Python .+ on {other.architecture}\.$"):
        build.refuse_other_platforms(task, other)
    library = next(tampered.glob("psycopg2_binary.libs/libpq*"))
    content = bytearray(library.read_bytes())
    library.unlink()
    content[18] = build.MACHINES[other.architecture][1]
    library.write_bytes(content)
    with pytest.raises(Refused, match=r"^psycopg2_binary\.libs/libpq.+, but for another processor or system\.$"):
        build.refuse_other_platforms(tampered, TARGET)


def test_another_python_is_refused(task: Path, tampered: Path) -> None:
    """For a wheel's tags, and for an extension's name."""
    with pytest.raises(Refused, match=r"^The wheel [a-z0-9_.-]+ is not made for Python 3\.9 on "):
        build.refuse_other_platforms(task, Target(ARCHITECTURE, "3.9"))
    extension = next(tampered.glob("sqlalchemy/util/*.so"))
    extension.rename(extension.with_name(extension.name.replace(f"-{TARGET.tag}-", "-39-")))
    with pytest.raises(Refused, match=r"^sqlalchemy/util/.+, but for another Python\.$"):
        build.refuse_other_platforms(tampered, TARGET)


def test_a_zip_without_the_drivers_extension_is_refused(tampered: Path) -> None:
    """Psycopg2 is there with what makes it a driver."""
    build.refuse_other_platforms(tampered, TARGET)
    next(tampered.glob("psycopg2/_psycopg.*.so")).unlink()
    with pytest.raises(Refused, match=r"^psycopg2/_psycopg\..+ is missing"):
        build.refuse_other_platforms(tampered, TARGET)


@pytest.mark.parametrize(
    ("content", "sizes"),
    [
        (os.urandom(25_100_000), "25.1 MB zipped (at most 25), 25.1 MB unzipped (at most 80)"),
        (bytes(80_100_000), "0.1 MB zipped (at most 25), 80.1 MB unzipped (at most 80)"),
    ],
    ids=["zipped", "unzipped"],
)
def test_a_zip_that_is_too_large_is_refused(tmp_path: Path, content: bytes, sizes: str) -> None:
    """For both sizes, and that the zip of before stays as it was."""
    output = tmp_path / "zips" / "todo-api.zip"
    output.parent.mkdir()
    output.write_bytes(b"before")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/large").write_bytes(content)
    with pytest.raises(Refused, match=re.escape(sizes)):
        build.write(tmp_path / "folder", output)
    assert list(output.parent.iterdir()) == [output]
    assert output.read_bytes() == b"before"


# --- under Lambda's runtime client ------------------------------------------------------------------------------------

Start = Callable[..., AbstractContextManager[Function]]


@pytest.fixture(scope="session")
def start(task: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Starts the function as Lambda does: /var/runtime's packages, the zip's, and those of nobody else."""
    folder = tmp_path_factory.mktemp("runtime")
    lock = (ROOT / "dev/requirements-dev.txt").read_text()
    entries = [re.findall(rf"^{name}==.*\n(?:    .*\n)+", lock, re.MULTILINE)[0] for name in IN_THE_RUNTIME]
    (folder / "requirements.txt").write_text("".join(entries))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", WITH_UV)
        build.fetch(folder / "requirements.txt", TARGET, folder)

    def run(**variables: str) -> AbstractContextManager[Function]:
        python = LAMBDAS_PYTHON or sys.executable
        command = [python, "-s", "-S", "-m", "awslambdaric", "handler.handler"]
        return Function(folder / f"{next(_numbers)}.log").running(
            command,
            task,
            {
                "PYTHONPATH": str(folder),
                "AWS_EXECUTION_ENV": f"AWS_Lambda_python{TARGET.python}",
                "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
                "AWS_LAMBDA_LOG_FORMAT": "JSON",
                "AWS_DEFAULT_REGION": "eu-central-1",
                "AWS_ACCESS_KEY_ID": "testing",
                "AWS_SECRET_ACCESS_KEY": "testing",
                **environment,
                **variables,
            },
        )

    return run


def _api(function: Function) -> Api:
    return Api(lambda *request: response_of(function.invoke(http_api_event(*request))))


@pytest.fixture(scope="module")
def function(start: Start) -> Iterator[Function]:
    """The function, running."""
    with start() as running:
        yield running


@pytest.mark.linux
@pytest.mark.parametrize("request_", [*ON_THE_DATABASE.values(), *REFUSED.values()], ids=[*ON_THE_DATABASE, *REFUSED])
def test_each_operation_works_in_lambda(function: Function, wire: TrafficCounter, request_: Any) -> None:
    """What the zip holds answers as the code here does, with one connection and one statement, or none."""
    send = sender(new_user("zoe", _api(function)))
    with wire.watch() as traffic:
        send(request_)
    needed = int(request_ in ON_THE_DATABASE.values())
    assert (traffic.connections, len(traffic.statements)) == (needed, needed)


@pytest.mark.linux
def test_the_log_is_json_with_both_request_ids(function: Function) -> None:
    """Every field of a request's line: Lambda's own, and ours beside them."""
    assert _api(function)("GET", f"/v1/todos/{'0' * 8}-0000-0000-0000-{'0' * 12}", user="x").status == 404
    line = function.log_lines()[-1]
    line.pop("taskName", None)  # Python's own since 3.12: asyncio's name of the task
    assert isinstance(line.pop("milliseconds"), float)
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
    }


@pytest.mark.linux
@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"NEON_DATABASE_URL": ""}, "NEON_DATABASE_URL is not usable: is not set."),
        (
            {"NEON_DATABASE_URL": "mysql://me:s3cr3t@host/db"},
            "NEON_DATABASE_URL is not usable: must start with postgresql://, postgres:// or postgresql+psycopg2://.",
        ),
        ({"IDENTITY_SOURCE": "s3cr3t"}, "IDENTITY_SOURCE is not usable: Input should be 'header' or 'authorizer'."),
    ],
)
def test_a_setting_that_is_not_usable_stops_the_start(start: Start, variables: dict[str, str], sentence: str) -> None:
    """Lambda is told so in one sentence, and that the value is nowhere."""
    with pytest.raises(Failed) as failed, start(**variables):
        pass
    assert failed.value.path == "init/error"
    assert failed.value.report["errorType"] == "SettingsError"
    assert failed.value.report["errorMessage"] == f"The environment variable {sentence}"
    assert "s3cr3t" not in str(failed.value.report)


@pytest.mark.linux
def test_the_bytecode_of_the_zip_is_what_runs(start: Start, task: Path) -> None:
    """No module of the zip is compiled at start or at a request, and that nothing is written."""
    before = _state(task)
    with start(PYTHONVERBOSE="1") as function:
        assert _api(function)("POST", "/v1/todos", user="x", json={"title": "x"}).status == 201
    sources = re.findall(rf"^# code object from '?{task}/(.+?)'?$", function.log(), re.MULTILINE)
    assert len(sources) > 400
    assert [path for path in sources if not path.endswith(".pyc")] == []
    assert f"# wrote '{task}" not in function.log()
    assert _state(task) == before


def _state(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in [folder, *folder.rglob("*")]}


# --- SnapStart --------------------------------------------------------------------------------------------------------


@pytest.mark.linux
@pytest.mark.parametrize("parameter", ["", "/todo-api/test/neon-database-url"], ids=["URL", "parameter"])
def test_a_snapshot_holds_no_connection_and_reads_no_parameter(
    start: Start, environment: dict[str, str], wire: TrafficCounter, parameter: str
) -> None:
    """The connection string is read and the database connected to only after the restore."""
    url = environment["NEON_DATABASE_URL"]
    variables = {"NEON_DATABASE_URL": "" if parameter else url, "NEON_DATABASE_URL_PARAMETER": parameter}
    with wire.watch() as traffic, start(AWS_LAMBDA_INITIALIZATION_TYPE="snap-start", **variables) as function:
        assert function.calls == ["restore/next", "invocation/next"]
        assert (traffic.connections, traffic.statements, function.log()) == (0, [], "")
        function.parameter = url
        for status in (201, 201):
            assert _api(function)("POST", "/v1/todos", user="zoe", json={"title": "x"}).status == status
        assert function.calls.count("AmazonSSM.GetParameter") == bool(parameter)
