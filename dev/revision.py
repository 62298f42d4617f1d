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
from sqlalchemy import create_engine

from dev.postgres import Postgres
from migrations.__main__ import alembic_config, migrate, revision_chain


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(usage="make revision NAME=due_at", description=__doc__)
    parser.add_argument("name", help="what it adds, as in due_at")
    name = parser.parse_args().name
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        parser.error("a name has small letters, digits and underscores")
    with TemporaryDirectory() as folder, Postgres(Path(folder)) as postgres:
        migrate(postgres.uri, compare_schema=False)
        engine = create_engine(postgres.uri.replace("postgresql", "postgresql+psycopg2", 1))
        with engine.connect() as connection:
            number = f"{int(revision_chain()[-1]) + 1:04}"
            config = alembic_config(connection)
            made = command.revision(config, name, autogenerate=True, rev_id=number)
            script = cast(Script, made)
    # Long lines are no error yet: `format` wraps them.
    for tool in (["check", "--fix", "--ignore=E501"], ["format"]):
        subprocess.run([sys.executable, "-m", "ruff", *tool, "--quiet", script.path], check=True)
    print(f"Read and complete {script.path}")


if __name__ == "__main__":
    main()
