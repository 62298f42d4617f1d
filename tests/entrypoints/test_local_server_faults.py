"""Faults around the local server.

A wrong port, a client that leaves, and signals to the supervisor of PostgreSQL.
"""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from dev import ROOT
from dev.postgres import Postgres, acquire
from todo_api.app import create_app
from todo_api.settings import Settings


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http"])
def test_a_wrong_port_is_a_usage_error_without_a_stack_trace(port: str) -> None:
    command = [sys.executable, "-m", "dev.serve", f"--port={port}"]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 2
    assert "error: argument --port: " in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_client_that_leaves_within_its_body_is_logged_as_499_and_not_as_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = create_app(Settings(neon_database_url="postgresql://nobody@127.0.0.1:9/none"))
    headers = [(b"x-user-id", b"x"), (b"content-type", b"application/json")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/todos",
        "query_string": b"",
        "headers": headers,
    }
    received = [
        {"type": "http.request", "body": b'{"ti', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[object] = []

    async def receive() -> object:
        return received.pop(0)

    async def send(message: object) -> None:
        sent.append(message)

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(app(scope, receive, send))  # type: ignore[arg-type]  # plain dictionaries
    assert sent == []
    lines = [
        (record.levelname, record.getMessage(), record.__dict__.get("status"))
        for record in caplog.records
    ]
    assert lines == [("INFO", "request", 499)]


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
