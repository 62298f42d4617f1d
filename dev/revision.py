"""Write the next revision of the schema: what the models have and the migrated database has not."""

import argparse
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from alembic import command
from alembic.script import Script
from alembic.util import CommandError
from sqlalchemy import create_engine

from dev.postgres import Postgres, PostgresError
from migrations.__main__ import alembic_config, migrate, revision_chain
from todo_api.settings import drop_libpq_variables


class RuffFailed(Exception):
    """Ruff did not check or format the revision; the message says why."""


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(usage="make revision NAME=due_at", description=__doc__)
    parser.add_argument("name", help="what it adds, as in due_at")
    name = parser.parse_args().name
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        parser.error("a name has small letters, digits and underscores")
    drop_libpq_variables()
    try:
        path = _write_revision(name)
    except (CommandError, PostgresError, RuffFailed) as error:
        sys.exit(f"No revision was written. {error}")
    print(f"Read and complete {path}")


def _write_revision(name: str) -> Path:
    """Write the file, complete and formatted: `make run` may apply it as soon as it is there."""
    path = _generate(name)
    code = path.read_text()
    path.unlink()
    # Formatted first, because some lints are errors only in lines that `format` wraps. What cannot
    # be fixed is printed, and is for the author to change.
    code = _ruff("format", code, path)
    code = _ruff("check --fix --exit-zero", code, path)
    code = _ruff("format", code, path)
    path.write_text(code)
    return path


def _generate(name: str) -> Path:
    """Let Alembic compare the models with a new database, and write the difference."""
    with TemporaryDirectory() as folder, Postgres(Path(folder)) as postgres:
        migrate(postgres.uri, compare_schema=False)
        engine = create_engine(postgres.uri.replace("postgresql", "postgresql+psycopg2", 1))
        with engine.connect() as connection:
            number = f"{int(revision_chain()[-1]) + 1:04}"
            config = alembic_config(connection)
            made = command.revision(config, name, autogenerate=True, rev_id=number)
            return Path(cast(Script, made).path)


def _ruff(arguments: str, code: str, path: Path) -> str:
    """Run ruff on the code, as if it were in the file. Returns the changed code."""
    tool = [sys.executable, "-m", "ruff", *arguments.split(), "--quiet", "--stdin-filename"]
    outcome = subprocess.run(
        [*tool, path, "-"], input=code, capture_output=True, text=True, check=False
    )
    if outcome.returncode:
        raise RuffFailed(f"`ruff {arguments}` failed: {outcome.stderr.strip()}")
    print(outcome.stderr, end="", file=sys.stderr)
    return outcome.stdout


if __name__ == "__main__":
    main()
