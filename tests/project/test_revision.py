"""`make revision`: the next revision, written from the models."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.aws.serverless import Project
from tests.support.postgres.revisions import NEWEST, NEXT

pytestmark = pytest.mark.slow


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


def test_long_lines_are_wrapped_and_what_only_the_author_can_correct_is_reported(
    folder: Path,
) -> None:
    columns = ["the_owner_of_it", "the_region_of_it", "the_workspace_of_it", "the_list_of_it"]
    key = f"sa.ForeignKeyConstraint({columns}, {[f'parents.{column}' for column in columns]})"
    fields = "".join(f"    {column}: str = Field(primary_key=True)\n" for column in columns)
    color = "    color: str = Field(sa_column=sa.Column(Color))\n"
    info = '{"info": {"owner": "the_owner_of_it"}}'
    with (folder / "todo_api" / "models" / "tables.py").open("a") as file:
        file.write(
            "\n\nclass Color(sa.Text):\n    pass\n"
            "\n\nclass Parent(SQLModel, table=True):\n    __tablename__ = 'parents'\n"
            f"    __table_args__ = ({info},)\n{fields}"
            "\n\nclass Child(SQLModel, table=True):\n    __tablename__ = 'children'\n"
            f"    __table_args__ = ({key}, {info})\n{fields}{color}"
        )
    outcome = _make_revision(folder, "parents_and_children")
    assert outcome.returncode == 0, outcome.stderr
    path = folder / "migrations" / "versions" / f"{NEXT}_parents_and_children.py"
    assert outcome.stdout.endswith(f"Read and complete {path}\n")
    lints = [line for line in outcome.stderr.splitlines() if re.match(r"[A-Z]+\d+ ", line)]
    assert lints == ["F821 Undefined name `todo_api`"]
    assert max(map(len, path.read_text().splitlines())) <= 100


def test_a_failing_tool_is_reported_in_a_sentence_and_leaves_no_file(folder: Path) -> None:
    settings = folder / "pyproject.toml"
    settings.write_text(settings.read_text().replace("line-length = 100", 'line-length = "long"'))
    outcome = _make_revision(folder, "due_at")
    assert outcome.returncode != 0
    assert "No revision was written. `ruff format` failed: " in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not list((folder / "migrations" / "versions").glob(f"{NEXT}*"))


def test_revisions_that_are_not_one_chain_are_reported_in_a_sentence(folder: Path) -> None:
    (newest,) = (folder / "migrations" / "versions").glob(f"{NEWEST}_*.py")
    newest.with_name(f"{NEWEST}_again.py").write_text(newest.read_text())
    outcome = _make_revision(folder, "due_at")
    assert outcome.returncode != 0
    assert "No revision was written. The revisions in migrations/versions are not" in outcome.stderr
    assert "Traceback" not in outcome.stderr


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
