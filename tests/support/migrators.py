"""Concurrent migrations."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.support.machine import ROOT


def migrate_at_once(uris: list[str]) -> list[subprocess.CompletedProcess[str]]:
    """Migrate these databases concurrently, each in its own process."""

    def run(uri: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "migrations"]
        environment = os.environ | {"NEON_DATABASE_URL": uri}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(len(uris)) as executor:
        return list(executor.map(run, uris))
