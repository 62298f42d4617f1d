"""Faults around the local server.

A wrong port, a client that leaves, many requests at once, and signals to the supervisor of
PostgreSQL.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from dev import ROOT
from dev.lab.sql import changed_database
from dev.ports import free_port
from dev.postgres import Postgres, acquire
from tests.support.http.servers import start_server

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("port", ["0", "65536", "70000", "-1", "1.5", "http", ""])
def test_a_wrong_port_is_a_usage_error_of_one_sentence(port: str) -> None:
    command = [sys.executable, "-m", "dev.serve", f"--port={port}"]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 2
    usage, _, error = outcome.stderr.partition("error: ")
    assert "Traceback" not in usage
    assert error == f"argument --port: {port!r} is not a number from 1 to 65535\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_postgresql_stops_when_its_supervisor_gets_a_signal(number: signal.Signals) -> None:
    # PostgreSQL, run by root as another user, cannot enter tmp_path.
    with TemporaryDirectory(prefix="todo-api-rows-") as name:
        folder = Path(name) / "rows"
        # Every process of the server inherits the lock.
        with Postgres(folder), (folder / "server.lock").open() as lock:
            assert not acquire(lock, 0)
            os.kill(int((folder / "supervisor.lock").read_text()), number)
            assert acquire(lock, 20)


@pytest.mark.parametrize(
    "unfinished",
    [b"Content-Length: 13\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"],
)
def test_a_client_that_leaves_in_the_body_is_not_a_bug(
    database: str, tmp_path: Path, unfinished: bytes
) -> None:
    port = free_port()
    log = tmp_path / "log"
    fields = b"Host: localhost\r\nX-User-Id: owner\r\nContent-Type: application/json\r\n"
    with log.open("w") as file, ExitStack() as stack:
        server = stack.enter_context(start_server(port, {"NEON_DATABASE_URL": database}, log=file))
        stack.callback(server.terminate)

        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"POST /v1/todos HTTP/1.1\r\n" + fields + unfinished)

        deadline = time.monotonic() + 20
        while "method=POST" not in log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert "status=400 problem=malformed-body" in log.read_text()
    assert "ERROR" not in log.read_text()


def test_a_burst_of_requests_waits_for_connections(database: str) -> None:
    login = "CREATE ROLE crowd LOGIN PASSWORD 'x' CONNECTION LIMIT 64 IN ROLE todo_app"
    url = f"postgresql://crowd:x@{database.partition('@')[2]}"
    port = free_port()
    # Fewer than the files that macOS lets a process open.
    clients = [HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(150)]
    with ExitStack() as stack:
        stack.enter_context(changed_database(database, login, "DROP ROLE crowd"))
        server = stack.enter_context(start_server(port, {"NEON_DATABASE_URL": url}))
        stack.callback(server.terminate)
        for client in clients:
            stack.enter_context(closing(client)).connect()

        for client in clients:
            client.request("GET", "/v1/todos", headers={"X-User-Id": "crowd"})

        assert [client.getresponse().status for client in clients] == [200] * len(clients)
