"""Waiting for locks: briefly, and several times.

Whoever waits for a lock on a table keeps all later statements on it waiting too.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

LOCK_TIMEOUT_SECONDS = 3
"""How long each attempt may wait for a lock."""
RETRY_PAUSES = (1, 2, 4, 8)
"""Seconds between the attempts, in which the statements of others run."""
RETRIED = ("55P03", "40P01", "XX000")
"""SQLSTATEs of temporary failures: a lock was not available, a deadlock, and "tuple concurrently
updated", when the migration of another database of the server changes the role at that moment."""

Result = TypeVar("Result")


def retry_for_locks(connection: Connection, work: Callable[[], Result], failed: str) -> Result:
    """Do some work in transactions on this connection, and again while others are in its way.

    Args:
        connection: outside any transaction.
        work: what to do; it is repeated as a whole.
        failed: what to say if it never succeeds.

    Raises:
        CommandError: others were in its way each time.
        DBAPIError: it failed in another way.
    """
    for pause in (*RETRY_PAUSES, 0):
        try:
            with connection.begin():
                connection.execute(text(f"SET lock_timeout = {LOCK_TIMEOUT_SECONDS * 1000:.0f}"))
            return work()
        except DBAPIError as error:
            if getattr(error.orig, "pgcode", None) not in RETRIED:
                raise
            connection.rollback()
            reason = str(error.orig).partition("\n")[0]
        time.sleep(pause)
    raise CommandError(
        f"{failed}: {len(RETRY_PAUSES) + 1} times, other transactions were in its way, "
        f"at last with: {reason}. pg_stat_activity shows them."
    )
