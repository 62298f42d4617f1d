"""`make run`, while a developer changes the models and the revisions."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from dev.ports import free_port
from tests.support.http.clients import Api, through_http
from tests.support.postgres.revisions import NEWEST, NEXT, SECOND
from tests.support.project.copies import Copy

pytestmark = pytest.mark.slow

REVISION = """\"\"\"A revision.\"\"\"

from alembic import op

revision = "{number}"
down_revision = "{after}"


def upgrade() -> None:
    op.execute("{statement}")


def downgrade() -> None:
    pass
"""


class LocalServer:
    """`make run` in a copy of the project."""

    def __init__(self, folder: Path) -> None:
        self.folder = Copy(folder).folder
        self.data = folder / "rows"
        self._output = folder / "output"
        self._seen = 0
        port = free_port()
        self.call = Api(through_http(port))
        command = [sys.executable, "-m", "dev.serve"]
        command += ["--port", str(port), "--data", str(self.data)]
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=os.environ | {"NEON_DATABASE_URL": ""},
                stdout=output,
                stderr=output,
            )

    def printed(self, pattern: str) -> str:
        """Wait until the server prints a line, after those that were waited for before."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self._output.read_text()
            text = self._output.read_text()[self._seen :]
            if found := re.search(f"^.*{pattern}.*\n", text, re.MULTILINE):
                self._seen += found.end()
                return found[0]
            time.sleep(0.05)
        raise TimeoutError(f"{pattern} is not in what the server printed: {text}")

    def add_column(self, name: str) -> None:
        """Add a column to the model of a todo."""
        path = self.folder / "todo_api" / "models" / "tables.py"
        title = "    title: str = "
        field = f"    {name}: str | None = Field()\n"
        _replace(path, path.read_text().replace(title, field + title))

    def write_revision(self, number: str, after: str, statement: str) -> None:
        """Write a revision, or replace it."""
        path = self.folder / "migrations" / "versions" / f"{number}_scratch.py"
        _replace(path, REVISION.format(number=number, after=after, statement=statement))

    def status_after_reload(self, path: str) -> int:
        """Return the status of a GET that the next process of the server answers."""
        self.printed("Application startup complete")
        return self.call("GET", path).status


def _replace(path: Path, text: str) -> None:
    """Write a file at once: the server must not find half of it, and reload twice."""
    written = path.with_suffix(".written")
    written.write_text(text)
    written.replace(path)


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """The local server on a database of its own, which is migrated."""
    # PostgreSQL, run by root as another user, cannot enter tmp_path.
    with TemporaryDirectory(prefix="todo-api-reload-") as folder:
        Path(folder).chmod(0o755)
        server = LocalServer(Path(folder))
        try:
            server.printed(f"The database is migrated from revision base to {NEWEST}")
            server.printed("Application startup complete")
            yield server
        finally:
            server.process.send_signal(signal.SIGINT)
            server.process.wait(60)


def test_a_new_or_corrected_revision_is_applied_while_the_server_runs(server: LocalServer) -> None:
    server.add_column("color")
    server.printed("todos lacks the column color")
    assert "run `make revision NAME=…` and no SQL by hand" in server.printed("no revision makes")
    assert server.status_after_reload("/ready") == 503

    server.write_revision(NEXT, NEWEST, "ALTER TABLE todos ADD color text")
    server.printed(f"The database is migrated from revision {NEWEST} to {NEXT}")
    assert server.status_after_reload("/ready") == 200

    server.write_revision(SECOND, NEXT, "SELECT 1 / 0")
    failed = server.printed(f"The migration from revision {NEXT} to {SECOND} failed")
    assert failed.endswith(f"and the database is at revision {NEXT}: division by zero\n")
    again = server.printed("This server runs on, and migrates again")
    assert "Traceback" not in failed + again
    assert server.status_after_reload("/ready") == 200

    server.write_revision(SECOND, NEXT, "SELECT 1")
    server.printed(f"The database is migrated from revision {NEXT} to {SECOND}")
    assert server.status_after_reload("/ready") == 200


def test_revisions_of_another_branch_with_the_same_number_end_in_what_to_do(
    server: LocalServer,
) -> None:
    server.write_revision(NEXT, NEWEST, "ALTER TABLE todos ADD size text")
    server.printed(f"The database is migrated from revision {NEWEST} to {NEXT}")

    server.write_revision(NEXT, NEWEST, "ALTER TABLE todos ADD color text")
    server.add_column("color")

    server.printed(f"The database is at revision {NEXT}, but not as .* lacks the column color")
    advice = server.printed("revisions of another branch")
    assert f"stop this server and start it again after `rm -r {server.data}`" in advice
