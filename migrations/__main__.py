"""Migrate the database that `NEON_DATABASE_URL` names: `python -m migrations [REVISION]`, by default to the newest."""

import sys
from pathlib import Path

import psycopg2
from alembic import command
from alembic.config import Config
from psycopg2.extensions import make_dsn, parse_dsn
from sqlalchemy import create_engine, pool
from sqlalchemy.exc import DBAPIError

from todo_api.credentials import uri_reader
from todo_api.database import DatabaseUnavailable
from todo_api.settings import Settings, SettingsError


def direct_endpoint(uri: str) -> str:
    """The connection string of Neon's direct endpoint: the pooled one's host without `-pooler`.

    Migrations need a session of their own, which the pooler does not give
    (https://neon.com/docs/connect/connection-pooling).
    """
    parts = parse_dsn(uri)
    endpoint, dot, domain = parts["host"].partition(".")
    return str(make_dsn(**{**parts, "host": endpoint.removesuffix("-pooler") + dot + domain}))


def migrate(uri: str, revision: str = "head") -> None:
    """Bring the database at `uri` up to `revision`, or down to it."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    dsn = direct_endpoint(uri)
    engine = create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(dsn), poolclass=pool.NullPool)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if revision == "base" or revision.startswith("-") else command.upgrade)(config, revision)


def main() -> None:
    """Run from the command line."""
    try:
        migrate(uri_reader(Settings.from_environment())(), *sys.argv[1:2])
    except (SettingsError, DatabaseUnavailable) as unusable:
        sys.exit(str(unusable))
    except DBAPIError as refused:
        sys.exit(f"The database refused, and is as it was before: {refused.orig}")
    print("The database is migrated.")


if __name__ == "__main__":
    main()
