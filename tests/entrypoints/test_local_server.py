"""`make run`: persistent rows, clear error messages, and the processes of the embedded PostgreSQL."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from dev.check_machine import lacking
from dev.postgres import Postgres, acquire
from tests.support.clients import Api, through_http
from tests.support.machine import ROOT
from tests.support.servers import free_port, start_server
from tests.support.sql import run_sql

WITHOUT_DATABASE = {"NEON_DATABASE_URL": ""}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that does not exist yet."""
    with TemporaryDirectory(
        prefix="todo-api-rows-"
    ) as name:  # PostgreSQL, run by root as another user, cannot enter tmp_path
        yield Path(name) / "rows"


def _wait_for_titles(call: Api) -> list[str]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        response = call("GET", "/v1/todos", user="owner")
        if response.status == 200:
            return [todo["title"] for todo in response.json()["items"]]
        time.sleep(0.05)
    raise TimeoutError("the database did not restart")


def test_rows_survive_ctrl_c_and_the_kill_of_each_process(folder: Path) -> None:
    port = free_port()
    call = Api(through_http(port))
    titles: list[str] = []
    for step, killed, end in [
        ("kill PostgreSQL", "data/postmaster.pid", signal.SIGINT),
        ("kill the server", "", signal.SIGKILL),
        ("kill the supervisor", "supervisor.lock", signal.SIGINT),
    ]:
        server = start_server(port, WITHOUT_DATABASE, "--data", str(folder))
        assert _wait_for_titles(call) == titles
        titles.insert(0, step)
        assert call("POST", "/v1/todos", user="owner", json={"title": step}).status == 201
        if killed:
            os.kill(int((folder / killed).read_text().split()[0]), signal.SIGKILL)
            assert _wait_for_titles(call) == titles
        server.send_signal(end)
        server.wait(20)
        _wait_until_free(port)
    with Postgres(folder) as postgres:
        rows = run_sql(postgres.uri, "SELECT title FROM todos ORDER BY created_at DESC")
    assert [title for (title,) in rows] == titles


def _wait_until_free(port: int) -> None:
    for _ in range(400):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.05)
    raise TimeoutError(f"a process still listens on {port}")


def _error_message(*arguments: str, **environment: str) -> str:
    command = [sys.executable, "-m", "dev.serve", *arguments]
    outcome = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert outcome.returncode == 1
    assert outcome.stdout == ""
    return outcome.stderr


def test_port_in_use_is_reported_before_anything_is_created(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = _error_message("--port", str(port), "--data", str(folder), **WITHOUT_DATABASE)
    assert message == f"Port {port} is in use: stop what uses it, or choose another: make run PORT=8001\n"
    assert not folder.exists()


def test_folder_with_other_files_is_reported_and_left_unchanged(folder: Path) -> None:
    folder.mkdir()
    (folder / "precious").write_text("x")
    message = _error_message("--port", str(free_port()), "--data", str(folder), **WITHOUT_DATABASE)
    assert message == f"{folder} holds something that this project did not make: move it away.\n"
    assert [path.name for path in folder.iterdir()] == ["precious"]


def test_folder_in_use_by_another_server_is_reported(folder: Path) -> None:
    with Postgres(folder):
        message = _error_message("--port", str(free_port()), "--data", str(folder), **WITHOUT_DATABASE)
    assert message == f"{folder} is in use by another server that was started from this clone.\n"


def test_invalid_setting_is_reported_without_a_stack_trace_and_without_its_value() -> None:
    message = _error_message("--port", str(free_port()), NEON_DATABASE_URL="mysql://secret")
    assert message.startswith("The environment variable NEON_DATABASE_URL is not usable: must start with")
    assert "secret" not in message


def test_responses_without_a_body_have_no_content_type(local_api: Api) -> None:
    created = local_api("POST", "/v1/todos", user="typeless", json={"title": "x"})
    path = created.headers["location"]
    unchanged = local_api("GET", path, user="typeless", headers={"If-None-Match": created.headers["etag"]})
    deleted = local_api("DELETE", path, user="typeless")
    assert (unchanged.status, deleted.status) == (304, 204)
    assert not {"content-type"} & (set(unchanged.headers) | set(deleted.headers))


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


def test_unfinished_initdb_or_stale_pid_file_of_a_killed_server_does_not_prevent_the_start(folder: Path) -> None:
    with Postgres(folder):
        pass
    (folder / "data").rename(folder / "data.unfinished")
    with Postgres(folder):
        pass
    rows = (folder / "data").stat()
    credentials: dict[str, Any] = {"user": rows.st_uid, "group": rows.st_gid} if os.geteuid() == 0 else {}
    with subprocess.Popen(["/bin/sleep", "60"], **credentials) as other:
        (folder / "data/postmaster.pid").write_text(f"{other.pid}\n")
        with Postgres(folder) as postgres:
            assert run_sql(postgres.uri, "SELECT 1") == [(1,)]
        other.kill()


def test_postgresql_stops_when_its_parent_is_killed(folder: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from dev.postgres import Postgres; "
        "postgres = Postgres(Path(sys.argv[1])); print(flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=ROOT, stdout=subprocess.PIPE)
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
        ("dev.check_machine.find_spec", lambda _: None, "This Python cannot make virtual environments"),
        ("platform.libc_ver", lambda: ("", ""), "The embedded PostgreSQL runs on macOS 11 and on Linux with glibc"),
        ("platform.libc_ver", lambda: ("glibc", "2.27"), "The embedded PostgreSQL runs on macOS 11 and on Linux"),
    ],
)
def test_unsupported_machine_is_reported(
    monkeypatch: pytest.MonkeyPatch, target: str, value: object, message: str
) -> None:
    assert lacking() is None
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(target, value)
    assert (lacking() or "").startswith(message)
