"""`make run`: rows that survive, and clear sentences where it cannot run."""

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

import psycopg2
import pytest

from dev.check_machine import lacking
from dev.postgres import Postgres, acquire
from tests.support.clients import Api, through_http
from tests.support.machine import ROOT
from tests.support.servers import free_port, start_server

WITHOUT_DATABASE = {"NEON_DATABASE_URL": ""}


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that any user may enter."""
    with TemporaryDirectory(prefix="todo-api-rows-") as name:
        yield Path(name) / "rows"


def _read(call: Api) -> list[str]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        answer = call("GET", "/v1/todos", user="keeper")
        if answer.status == 200:
            return [todo["title"] for todo in answer.json()["items"]]
        time.sleep(0.05)
    raise TimeoutError("the rows did not come back")


def test_rows_survive_whatever_is_killed(folder: Path) -> None:
    """Persistence: Ctrl-C, kill -9 of the server, kill -9 of PostgreSQL, and kill -9 of PostgreSQL's keeper."""
    port = free_port()
    call = Api(through_http(port))
    titles: list[str] = []
    for round_ in ("interrupt", "kill the server", "kill PostgreSQL", "kill the keeper"):
        server = start_server(port, WITHOUT_DATABASE, "--data", str(folder))
        assert _read(call) == titles
        titles.insert(0, round_)
        assert call("POST", "/v1/todos", user="keeper", json={"title": round_}).status == 201
        if round_ == "kill PostgreSQL":
            os.kill(int((folder / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
            assert _read(call) == titles
        if round_ == "kill the keeper":
            os.kill(int((folder / "supervisor.lock").read_text()), signal.SIGKILL)
            assert _read(call) == titles
        if round_ == "kill the server":
            server.kill()
        else:
            server.send_signal(signal.SIGINT)
        server.wait(20)
        _wait_until_free(port)
    with Postgres(folder):
        pass


def _wait_until_free(port: int) -> None:
    for _ in range(400):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.05)
    raise TimeoutError(f"something still listens on {port}")


def _sentence(*arguments: str, **environment: str) -> str:
    command = [sys.executable, "-m", "dev.serve", *arguments]
    outcome = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert outcome.returncode == 1
    assert outcome.stdout == ""
    return outcome.stderr


def test_a_port_in_use_is_told(folder: Path) -> None:
    """The sentence, and that nothing was begun."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = _sentence("--port", str(port), "--data", str(folder), **WITHOUT_DATABASE)
    assert said == f"Port {port} is in use: stop what uses it, or choose another: make run PORT=8001\n"
    assert not folder.exists()


def test_a_folder_that_is_not_ours_is_left_alone(folder: Path) -> None:
    """The sentence, and that the folder's content stays."""
    folder.mkdir()
    (folder / "precious").write_text("x")
    said = _sentence("--port", str(free_port()), "--data", str(folder), **WITHOUT_DATABASE)
    assert said == f"{folder} holds something that this project did not make: move it away.\n"
    assert [path.name for path in folder.iterdir()] == ["precious"]


def test_a_folder_in_use_is_told(folder: Path) -> None:
    """Two servers never work on the same rows."""
    with Postgres(folder):
        said = _sentence("--port", str(free_port()), "--data", str(folder), **WITHOUT_DATABASE)
    assert said == f"{folder} is in use by another server that was started from this clone.\n"


def test_a_malformed_setting_is_told() -> None:
    """The local server says the same sentence as the function, without a stack trace."""
    said = _sentence("--port", str(free_port()), NEON_DATABASE_URL="mysql://secret")
    assert said.startswith("The environment variable NEON_DATABASE_URL is not usable: must start with")
    assert "secret" not in said


def test_an_answer_without_a_body_declares_no_type(local_api: Api) -> None:
    """For 204 and 304."""
    created = local_api("POST", "/v1/todos", user="typeless", json={"title": "x"})
    path = created.headers["location"]
    known = local_api("GET", path, user="typeless", headers={"If-None-Match": created.headers["etag"]})
    deleted = local_api("DELETE", path, user="typeless")
    assert (known.status, deleted.status) == (304, 204)
    assert not {"content-type"} & (set(known.headers) | set(deleted.headers))


def test_requests_that_wait_for_the_database_hold_up_nobody() -> None:
    """Fifty of them wait at the same time, and that others are answered meanwhile."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent, ExitStack() as stack:
        url = f"postgresql://a:b@127.0.0.1:{silent.getsockname()[1]}/c"
        port = free_port()
        server = start_server(port, {"NEON_DATABASE_URL": url, "DATABASE_TIMEOUT_SECONDS": "5"})
        stack.callback(server.wait)
        stack.callback(server.terminate)
        call = Api(through_http(port))
        silent.settimeout(5)
        with ThreadPoolExecutor(50) as executor:
            waiting = [executor.submit(call, "GET", "/v1/todos", user="x") for _ in range(50)]
            for _ in waiting:
                stack.enter_context(silent.accept()[0])
            assert call("GET", "/health").status == 200
            assert not any(request.done() for request in waiting)
        assert {request.result().status for request in waiting} == {503}


def test_initialisation_that_was_cut_short_is_begun_again(folder: Path) -> None:
    """Half-made files of PostgreSQL do no harm."""
    with Postgres(folder):
        pass
    (folder / "data").rename(folder / "data.unfinished")
    with Postgres(folder) as postgres:
        assert postgres.uri.startswith("postgresql://postgres:")


def test_a_number_that_another_process_has_by_now_does_no_harm(folder: Path) -> None:
    """A killed server's pid file does not keep the next one from starting, whoever has its number."""
    with Postgres(folder):
        pass
    rows = (folder / "data").stat()
    credentials: dict[str, Any] = {"user": rows.st_uid, "group": rows.st_gid} if os.geteuid() == 0 else {}
    with subprocess.Popen(["/bin/sleep", "60"], **credentials) as other:
        (folder / "data" / "postmaster.pid").write_text(f"{other.pid}\n")
        with Postgres(folder) as postgres:
            psycopg2.connect(postgres.uri).close()
        other.kill()


def test_the_server_ends_with_its_owner(folder: Path) -> None:
    """An owner that is killed leaves no PostgreSQL behind."""
    code = (
        "import sys, time; from pathlib import Path; from dev.postgres import Postgres; "
        "postgres = Postgres(Path(sys.argv[1])); print(flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=ROOT, stdout=subprocess.PIPE)
    assert owner.stdout
    owner.stdout.readline()
    with (folder / "server.lock").open() as lock:  # inherited by every process of the server
        assert not acquire(lock, 0)
        owner.kill()
        owner.wait()
        owner.stdout.close()
        assert acquire(lock, 20)


@pytest.mark.parametrize(
    ("what", "value", "sentence"),
    [
        ("sys.version_info", (3, 10, 2), "Python 3.11 or newer is needed"),
        ("dev.check_machine.find_spec", lambda _: None, "This Python cannot make virtual environments"),
        ("platform.libc_ver", lambda: ("", ""), "The embedded PostgreSQL runs on macOS 11 and on Linux with glibc"),
        ("platform.libc_ver", lambda: ("glibc", "2.27"), "The embedded PostgreSQL runs on macOS 11 and on Linux"),
    ],
)
def test_an_unsupported_machine_is_told(
    monkeypatch: pytest.MonkeyPatch, what: str, value: object, sentence: str
) -> None:
    """The sentence for an old Python, one without venv, and a system that the binaries do not run on."""
    assert lacking() is None
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(what, value)
    assert (lacking() or "").startswith(sentence)
