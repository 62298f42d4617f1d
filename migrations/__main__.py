"""Migrate the database that `NEON_DATABASE_URL` names: `python -m migrations [REVISION]`, by default to the newest."""

import sys
from pathlib import Path

import psycopg2
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, pool
from sqlalchemy.exc import DBAPIError

from todo_api.database.errors import DatabaseUnavailable
from todo_api.database.url import direct_url, url_reader
from todo_api.settings import Settings, SettingsError


def migrate(uri: str, revision: str = "head") -> None:
    """Bring the database at `uri` up to `revision`, or down to it."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    dsn = direct_url(uri)
    engine = create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(dsn), poolclass=pool.NullPool)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if revision == "base" or revision.startswith("-") else command.upgrade)(config, revision)


def main() -> None:
    """Run from the command line."""
    try:
        settings = Settings.from_environment()
        uri = url_reader(settings.neon_database_url, settings.neon_database_url_parameter)()
        migrate(uri, *sys.argv[1:2])
    except (SettingsError, DatabaseUnavailable) as unusable:
        sys.exit(str(unusable))
    except DBAPIError as refused:
        sys.exit(f"The migration failed, and the database is unchanged: {refused.orig}")
    print("The database is migrated.")


if __name__ == "__main__":
    main()
