"""Start servers in separate processes."""

import os
import subprocess
import sys
import time
from typing import IO

from dev import ROOT
from tests.support.http.clients import Api, through_http


def start_server(
    port: int,
    environment: dict[str, str],
    *arguments: str,
    module: str = "dev.serve",
    log: IO[str] | int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start the local server, or another module of this project, and wait until it responds."""
    command = [sys.executable, "-m", module, "--port", str(port), *arguments]
    server = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=log
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, f"{module} exited"
        try:
            if Api(through_http(port))("GET", "/health").status == 200:
                return server
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"{module} does not respond")
