"""`make revision`: the next revision, written from the models."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.revisions import NEWEST, NEXT
from tests.support.serverless import Project


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the project."""
    project = Project(tmp_path)
    (project.folder / ".venv" / "ready").touch()
    return project.folder


def _make_revision(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--silent", "revision", f"NAME={name}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_new_revision_has_what_the_models_add(folder: Path) -> None:
    tables = folder / "todo_api" / "models" / "tables.py"
    title = "    title: str = "
    remind_at = (
        "    remind_at: datetime | None = Field(sa_column=sa.Column(sa.DateTime(timezone=True)))\n"
    )
    color = "    color: str | None = Field(default=None, max_length=20)\n"
    tables.write_text(tables.read_text().replace(title, remind_at + color + title))
    outcome = _make_revision(folder, "remind_at")
    assert outcome.returncode == 0, outcome.stderr
    path = folder / "migrations" / "versions" / f"{NEXT}_remind_at.py"
    assert outcome.stdout.endswith(f"Read and complete {path}\n")
    lines = [line.strip() for line in path.read_text().splitlines() if "#" not in line and line]
    assert lines == [
        '"""Remind at."""',
        *("import sqlalchemy as sa", "import sqlmodel.sql.sqltypes", "from alembic import op"),
        *(f'revision = "{NEXT}"', f'down_revision = "{NEWEST}"'),
        *("def upgrade() -> None:", '"""Apply the revision."""'),
        'op.add_column("todos", sa.Column("remind_at", sa.DateTime(timezone=True), nullable=True))',
        "op.add_column(",
        '"todos", sa.Column("color", sqlmodel.sql.sqltypes.AutoString(length=20), nullable=True)',
        ")",
        *("def downgrade() -> None:", '"""Revert it."""'),
        'op.drop_column("todos", "color")',
        'op.drop_column("todos", "remind_at")',
    ]
    for check in ("check", "format --check"):
        subprocess.run(
            [sys.executable, "-m", "ruff", *check.split(), "migrations"], cwd=folder, check=True
        )


def test_a_new_revision_is_empty_when_the_models_equal_the_schema(folder: Path) -> None:
    assert _make_revision(folder, "rights").returncode == 0
    assert "op." not in (folder / "migrations" / "versions" / f"{NEXT}_rights.py").read_text()


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "the following arguments are required: name"), ("Due", "a name has small letters")],
)
def test_a_revision_without_a_usable_name_is_refused(folder: Path, name: str, message: str) -> None:
    outcome = _make_revision(folder, name)
    assert outcome.returncode != 0
    assert message in outcome.stderr
    assert not list((folder / "migrations" / "versions").glob(f"{NEXT}*"))
