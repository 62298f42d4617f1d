"""Migrate the database that `NEON_DATABASE_URL` names: to the newest revision, or to another."""

import argparse
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, pool, text
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from migrations.isolation import refuse_strangers, remaining_differences, repair, sentence
from migrations.locks import retry_for_locks
from migrations.owner import (
    LockTimeout,
    SessionChanged,
    Watch,
    connect_on_system_path,
    direct_url,
    session_lock,
    watched,
)
from todo_api.database.errors import DatabaseUnavailable
from todo_api.database.isolation import SCHEMA
from todo_api.database.parameter_store import url_reader
from todo_api.settings import Settings, SettingsError

FOLDER = Path(__file__).parent
ADVISORY_LOCK = 7_030_461_218_340_771
"""An arbitrary number, the same in every release: whoever holds this advisory lock is migrating."""
ADVISORY_LOCK_SECONDS = 120
"""How long to wait for another migration of the same database."""


def migrate(url: str, target: str = "head", *, compare_schema: bool = True) -> str:
    """Migrate the database at `url` up or down, with one transaction for each revision.

    It also repairs the isolation between users, even if there is no revision to apply.

    Args:
        url: the connection URL, of either of Neon's two endpoints.
        target: a revision, `head`, `base`, or how many revisions to go back, as in `-1`.
        compare_schema: whether to fail if the newest revision lacks what the models have.

    Returns:
        What was done, as a sentence.

    Raises:
        CommandError: it failed; the message says why, and at which revision the database is.
    """
    revisions = revision_chain()
    if target not in ("head", *revisions) and not re.fullmatch("-[1-9][0-9]*", target):
        known = ", ".join(revisions)
        raise CommandError(
            f"There is no revision {target}: choose one of {known}, head, or -1 to go one back."
        )
    direct = direct_url(url)
    engine = create_engine(
        "postgresql+psycopg2://",
        creator=lambda: connect_on_system_path(direct),
        poolclass=pool.NullPool,
    )
    watch = Watch()
    try:
        with engine.connect() as connection:
            session: Any = connection.connection.driver_connection
            with (
                watched(session, direct) as watch,
                session_lock(session, ADVISORY_LOCK, ADVISORY_LOCK_SECONDS),
            ):
                refuse_strangers(connection)
                with connection.begin():
                    connection.execute(text(f"SET search_path = {SCHEMA}, pg_temp"))
                    context = MigrationContext.configure(connection)
                    current = context.get_current_revision() or "base"
                return _migrate(
                    connection, revisions, current, target, compare_schema=compare_schema
                )
    except (DBAPIError, psycopg2.Error) as error:
        reason = watch.silence or str(getattr(error, "orig", error)).strip()
        raise CommandError(
            f"The migration failed, and no revision was applied: {reason}"
        ) from error
    except LockTimeout as timeout:
        raise CommandError(
            f"Another migration of this database has not ended for {ADVISORY_LOCK_SECONDS} s, "
            f"and nothing was changed by this one: run it again after that one. {timeout}"
        ) from None
    except (CommandError, SessionChanged) as error:
        raise CommandError(f"{error} {watch.silence}".strip()) from error


def alembic_config(connection: Connection) -> Config:
    """Return the configuration for Alembic's commands."""
    config = Config(attributes={"connection": connection})
    # Escaped, because a value may refer to others by %.
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    return config


def revision_chain() -> list[str]:
    """Return "base" and the revisions after it, oldest first."""
    scripts = ScriptDirectory(FOLDER)
    with warnings.catch_warnings():
        # Alembic only warns of a number that is used twice, or missing.
        warnings.simplefilter("error", UserWarning)
        try:
            heads = scripts.get_heads()
        except UserWarning as warning:
            problem = str(warning)
        else:
            problem = f"{' and '.join(heads)} are both the newest" if len(heads) > 1 else ""
    if problem:
        raise CommandError(
            f"The revisions in migrations/versions are not one chain ({problem}): "
            "give each a number of its own, and the number before it as its down_revision."
        )
    return ["base", *reversed([script.revision for script in scripts.walk_revisions()])]


def _migrate(
    connection: Connection, revisions: list[str], current: str, target: str, *, compare_schema: bool
) -> str:
    newest = revisions[-1]
    at = f"The database is at revision {current}"
    if current not in revisions:
        if target == "head" and current.isdecimal() and current > newest:
            _refuse_differences(connection, f"{at}, newer than this code", with_schema=True)
            return (
                f"Nothing to do: the database is at revision {current}, "
                f"and the newest of this code is {newest}."
            )
        raise CommandError(f"{at}, which this code does not have: nothing was changed.")
    start = revisions.index(current)
    target = newest if target == "head" else target
    end = revisions.index(target) if target in revisions else start + int(target)
    if end < 0:
        raise CommandError(f"{at}: it cannot go back by {target[1:]}.")
    repaired = repair(connection)
    refuse_strangers(connection)  # again: now nobody else can create in the schema
    change, direction = (command.upgrade, 1) if end > start else (command.downgrade, -1)
    for number in range(start, end, direction):
        _step(connection, change, revisions[number], revisions[number + direction])
    reached = revisions[end]
    if end == start:
        done = f"Nothing to do: the database is at revision {reached}."
    else:
        done = f"The database is migrated from revision {current} to {reached}."
    at = f"The database is at revision {reached}"
    with_schema = compare_schema and reached == newest  # an older revision has less
    try:
        if end != start:
            repaired += repair(connection)  # what the revisions have made or undone
        if end > 0:
            _refuse_differences(connection, at, with_schema=with_schema)
    except DBAPIError as error:
        raise CommandError(f"{at}, but was not compared with the models: {error.orig}") from error
    if repaired and start > 0:
        done += f" Repaired: {'; '.join(repaired)}."
    return done


def _refuse_differences(connection: Connection, at: str, *, with_schema: bool) -> None:
    found = remaining_differences(connection, with_schema=with_schema)
    if found:
        raise CommandError(f"{at}, but not as the models describe it: {sentence(found)}")


def _step(
    connection: Connection, change: Callable[[Config, str], None], old: str, new: str
) -> None:
    """Go from one revision to the next.

    Retries while transactions of others hold a lock that it needs.
    """
    failed = f"The migration from revision {old} to {new} failed"
    lost = "the connection was lost, so the database is at one of the two. Run this again."
    at = f"{failed}, and the database is at revision {old}"
    try:
        retry_for_locks(connection, lambda: change(alembic_config(connection), new), at)
    except PendingRollbackError as error:
        # Raised in place of the first error, at the end of an autocommit block.
        raise CommandError(f"{failed}: {lost}") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise CommandError(f"{failed}: {lost}") from error
        raise CommandError(f"{at}: {error.orig}".strip()) from error


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m migrations", description=__doc__)
    parser.add_argument(
        "revision", nargs="?", default="head", help="as in 0003, base, or -1 to go one back"
    )
    arguments = parser.parse_args()
    try:
        settings = Settings.from_environment()
        url = url_reader(settings.neon_database_url, settings.neon_database_url_parameter)()
        print(migrate(url, arguments.revision))
    except (SettingsError, DatabaseUnavailable, CommandError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
