"""`make run`: persistent rows, clear errors, and the processes of the embedded PostgreSQL."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from dev import ROOT
from dev.check_machine import lacking
from dev.lab.sql import run_sql
from dev.ports import free_port
from dev.postgres import Postgres, acquire
from tests.support.http.clients import Api, through_http
from tests.support.http.servers import start_server


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that does not exist yet."""
    # PostgreSQL, run by root as another user, cannot enter tmp_path.
    with TemporaryDirectory(prefix="todo-api-rows-") as name:
        yield Path(name) / "rows"


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _titles(call: Api) -> list[str]:
    """Return the titles of the owner's todos, as soon as PostgreSQL runs."""
    _wait_until(lambda: call("GET", "/ready").status == 200)
    return [todo["title"] for todo in call("GET", "/v1/todos", user="owner").json()["items"]]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.slow
def test_rows_survive_ctrl_c_and_the_kill_of_each_process(folder: Path) -> None:
    port = free_port()
    call = Api(through_http(port))
    titles: list[str] = []
    for step, killed, end in [
        ("kill PostgreSQL", "data/postmaster.pid", signal.SIGINT),
        ("kill the server", "", signal.SIGKILL),
        ("kill the supervisor", "supervisor.lock", signal.SIGINT),
    ]:
        server = start_server(port, {"NEON_DATABASE_URL": ""}, "--data", str(folder))
        assert _titles(call) == titles
        titles.insert(0, step)
        assert call("POST", "/v1/todos", user="owner", json={"title": step}).status == 201
        if killed:
            os.kill(int((folder / killed).read_text().split()[0]), signal.SIGKILL)
            assert _titles(call) == titles
        server.send_signal(end)
        server.wait(20)
        _wait_until(lambda: _is_free(port))
    with Postgres(folder) as postgres:
        rows = run_sql(postgres.uri, "SELECT title FROM todos ORDER BY created_at DESC")
    assert [title for (title,) in rows] == titles


def _error_message(folder: Path, port: int | None = None, url: str = "") -> str:
    command = [sys.executable, "-m", "dev.serve"]
    command += ["--port", str(port or free_port()), "--data", str(folder)]
    environment = os.environ | {"NEON_DATABASE_URL": url}
    outcome = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (outcome.returncode, outcome.stdout) == (1, "")
    return outcome.stderr


def test_port_in_use_is_reported_before_anything_is_created(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = _error_message(folder, port)
    hint = "stop what uses it, or choose another: make run PORT=8001"
    assert message == f"Port {port} is in use: {hint}\n"
    assert not folder.exists()


def test_folder_with_other_files_is_reported_and_left_unchanged(folder: Path) -> None:
    folder.mkdir()
    (folder / "precious").write_text("x")
    message = _error_message(folder)
    assert message == f"{folder} holds something that this project did not make: move it away.\n"
    assert [path.name for path in folder.iterdir()] == ["precious"]


@pytest.mark.slow
def test_folder_in_use_by_another_server_is_reported(folder: Path) -> None:
    with Postgres(folder):
        message = _error_message(folder)
    assert message == f"{folder} is in use by another server that was started from this clone.\n"


def test_invalid_setting_is_reported_without_a_stack_trace_and_without_its_value(
    folder: Path,
) -> None:
    message = _error_message(folder, url="mysql://secret")
    assert message.startswith(
        "The environment variable NEON_DATABASE_URL is not usable: must start with"
    )
    assert "secret" not in message


def test_the_name_of_a_parameter_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEON_DATABASE_URL_PARAMETER", "/todo-api/dev/neon-database-url")

    message = _error_message(folder)

    assert message == (
        "The local server does not read NEON_DATABASE_URL_PARAMETER: set NEON_DATABASE_URL, "
        "or neither for a PostgreSQL of its own.\n"
    )


def test_responses_without_a_body_have_no_content_type(local_api: Api) -> None:
    created = local_api("POST", "/v1/todos", user="typeless", json={"title": "x"})
    path = created.headers["location"]
    unchanged = local_api(
        "GET", path, user="typeless", headers={"If-None-Match": created.headers["etag"]}
    )
    deleted = local_api("DELETE", path, user="typeless")
    assert (unchanged.status, deleted.status) == (304, 204)
    assert not {"content-type"} & (set(unchanged.headers) | set(deleted.headers))


@pytest.mark.slow
def test_fifty_requests_that_wait_for_the_database_do_not_block_others() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent, ExitStack() as stack:
        url = f"postgresql://a:b@127.0.0.1:{silent.getsockname()[1]}/c?sslmode=disable"
        port = free_port()
        server = start_server(port, {"NEON_DATABASE_URL": url, "DATABASE_TIMEOUT_SECONDS": "20"})
        stack.callback(server.wait)
        stack.callback(server.terminate)
        call = Api(through_http(port))
        silent.settimeout(20)
        with ThreadPoolExecutor(50) as executor:
            waiting = [executor.submit(call, "GET", "/v1/todos", user="x") for _ in range(50)]
            connections = [stack.enter_context(silent.accept()[0]) for _ in waiting]
            assert call("GET", "/health").status == 200
            assert not any(request.done() for request in waiting)
            error = b"SFATAL\0C28P01\0Mpassword authentication failed\0\0"  # which is not retried
            for connection in connections:
                connection.sendall(b"E" + (4 + len(error)).to_bytes(4) + error)
        assert {request.result().status for request in waiting} == {503}


@pytest.mark.slow
def test_unfinished_initdb_or_stale_pid_file_of_a_killed_server_does_not_prevent_the_start(
    folder: Path,
) -> None:
    with Postgres(folder):
        pass
    (folder / "data").rename(folder / "data.unfinished")
    with Postgres(folder):
        pass
    rows = (folder / "data").stat()
    credentials: dict[str, Any] = (
        {"user": rows.st_uid, "group": rows.st_gid} if os.geteuid() == 0 else {}
    )
    with subprocess.Popen(["/bin/sleep", "60"], **credentials) as other:
        (folder / "data/postmaster.pid").write_text(f"{other.pid}\n")
        with Postgres(folder) as postgres:
            assert run_sql(postgres.uri, "SELECT 1") == [(1,)]
        other.kill()


@pytest.mark.slow
def test_postgresql_stops_when_its_parent_is_killed(folder: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from dev.postgres import Postgres; "
        "postgres = Postgres(Path(sys.argv[1])); print(flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert parent.stdout
    parent.stdout.readline()
    with (folder / "server.lock").open() as lock:  # every process of the server inherits the lock
        assert not acquire(lock, 0)
        parent.kill()
        parent.wait()
        parent.stdout.close()
        assert acquire(lock, 20)


@pytest.mark.parametrize(
    ("target", "value", "message"),
    [
        ("sys.version_info", (3, 10, 2), "Python 3.11 or newer is needed"),
        (
            "dev.check_machine.find_spec",
            lambda _: None,
            "This Python cannot make virtual environments",
        ),
        (
            "platform.libc_ver",
            lambda: ("", ""),
            "The embedded PostgreSQL runs on macOS 11 and on Linux with glibc",
        ),
        (
            "platform.libc_ver",
            lambda: ("glibc", "2.27"),
            "The embedded PostgreSQL runs on macOS 11 and on Linux",
        ),
    ],
)
def test_unsupported_machine_is_reported(
    monkeypatch: pytest.MonkeyPatch, target: str, value: object, message: str
) -> None:
    assert lacking() is None
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(target, value)
    assert (lacking() or "").startswith(message)
