"""The function's login, as deploys make it, with a parameter in memory."""

import json
import os
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass

from psycopg2.extensions import parse_dsn

from deploy.runtime_login import renew
from dev import ROOT
from dev.lab.sql import run_sql


@dataclass
class MemoryParameter:
    """The function's parameter, in memory."""

    value: str = ""

    def read(self) -> str:
        """Return its value."""
        return self.value

    def write(self, url: str) -> None:
        """Replace its value."""
        self.value = url


def new_stage() -> str:
    """Return the name of a stage that has no login yet."""
    return f"branch-{secrets.token_hex(4)}"


def user(uri: str) -> str:
    """Return the role that a URI logs in as."""
    return str(parse_dsn(uri)["user"])


def logins(uri: str, stage: str) -> list[tuple[str, bool]]:
    """Return every role of a stage, and whether it may log in."""
    rows = run_sql(uri, "SELECT rolname, rolcanlogin FROM pg_roles ORDER BY 1")
    prefix = f"todo_app_{stage.replace('-', '_')}_"
    return [(name, may_log_in) for name, may_log_in in rows if name.startswith(prefix)]


def created(owner: str, stage: str, current: str = "", *, rotate: bool = False) -> str:
    """Renew the login `current` of a stage, which is expected to be needed. Returns the new one."""
    parameter = MemoryParameter(current)
    renew(owner, stage, parameter, rotate=rotate)
    assert parameter.value != current
    return parameter.value


def renew_in_a_process(
    owner: str, stage: str, parameter: MemoryParameter, *options: str
) -> tuple[int, str]:
    """Run the step in a process, answering it as the plugin does, after the time that AWS takes.

    Returns the exit code and what it prints for a reader.
    """
    command = [sys.executable, "-m", "deploy.runtime_login", stage, *options]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "NEON_DATABASE_URL": owner},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        for line in process.stdout:
            request, *values = json.loads(line)
            time.sleep(0.1)
            if request == "write":
                parameter.write(*values)
            answer = parameter.read() if request == "read" else ""
            process.stdin.write(json.dumps(answer) + "\n")
            process.stdin.flush()
        messages = process.stderr.read()
    return process.returncode, messages
