"""Copies of the migrations, to which tests add revisions."""

import shutil
from pathlib import Path
from textwrap import indent

import pytest

from dev import ROOT
from dev.lab.sql import run_sql

EXISTING = sorted(path.name[:4] for path in (ROOT / "migrations" / "versions").glob("0*.py"))
NEWEST = EXISTING[-1]
NEXT, SECOND, THIRD = (f"{int(NEWEST) + number:04}" for number in (1, 2, 3))
"""The numbers of the revisions that a test may add."""

NOTHING_TO_DO = f"Nothing to do: the database is at revision {NEWEST}."
"""What `migrate` says of a database that is at the newest revision and as the models say."""


def revision_of(uri: str) -> str:
    """Return the revision that a database is at."""
    ((revision,),) = run_sql(uri, "SELECT version_num FROM alembic_version")
    return str(revision)


class Revisions:
    """A copy of the migrations that replaces the project's own, until the test ends."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "migrations", folder, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.setattr("migrations.__main__.FOLDER", folder)

    def add(self, revision: str, after: str, *statements: str, file: str = "") -> None:
        """Add a revision which executes statements."""
        lines = "\n".join(f"op.execute({statement!r})" for statement in statements) or "pass"
        self.write(file or revision, revision, after, f"def upgrade():\n{indent(lines, '    ')}\n")

    def write(self, file: str, revision: str, after: str, upgrade: str) -> None:
        """Add a revision with this `upgrade` function."""
        header = f"from alembic import op\nrevision = {revision!r}\ndown_revision = {after!r}\n"
        path = self.folder / "versions" / f"{file}_scratch.py"
        path.write_text(f"{header}{upgrade}\ndef downgrade():\n    pass\n")
