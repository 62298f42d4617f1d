"""Faults around the local server.

A wrong port, a client that leaves, and signals to the supervisor of PostgreSQL.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from dev import ROOT
from dev.postgres import Postgres, acquire

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
