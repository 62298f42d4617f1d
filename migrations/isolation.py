"""Makes a database isolate users as the models describe it.

Isolation is state, not history: a restored database has the number of its revision, and may have
lost the role, the policies and the rights. So this runs with every migration, after the revisions.
"""

import time
from collections.abc import Sequence

from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from todo_api.database.catalog import read_facts
from todo_api.database.differences import Difference, isolation_differences
from todo_api.database.isolation import SCHEMA
from todo_api.database.readiness import schema_differences

RETRIED = ("55P03", "40P01", "XX000")
"""SQLSTATEs of what passes: a lock was not available, a deadlock, and "tuple concurrently updated",
when the migration of another database of the server changes the role at the same moment."""

# Objects that the owner's own statements would use in place of the system's or of the migrations':
# PostgreSQL takes an operator or a function with the exact argument types wherever it stands on the
# search path. Trusted are superusers, the database's owner and whoever the session may act as.
STRANGERS_SQL = """
SELECT kind || ' ' || name || ' of ' || quote_ident(rolname) FROM (
    SELECT 'operator' AS kind, oid::regoperator::text AS name, oprowner AS owner,
        'pg_operator'::regclass AS catalog, oid
    FROM pg_operator WHERE oprnamespace = to_regnamespace(:schema)
    UNION ALL
    SELECT 'function', oid::regprocedure::text, proowner, 'pg_proc', oid
    FROM pg_proc p WHERE pronamespace = to_regnamespace(:schema) AND EXISTS (
        SELECT FROM pg_proc system
        WHERE system.proname = p.proname AND system.pronamespace = 'pg_catalog'::regnamespace
    )
    UNION ALL
    SELECT 'relation', oid::regclass::text, relowner, 'pg_class', oid
    FROM pg_class WHERE relnamespace = to_regnamespace(:schema) AND relname = 'alembic_version'
) object JOIN pg_roles ON pg_roles.oid = owner
WHERE NOT rolsuper AND NOT pg_has_role(session_user, owner, 'USAGE')
    AND owner <> (SELECT datdba FROM pg_database WHERE datname = current_database())
    AND NOT EXISTS (
        SELECT FROM pg_depend
        WHERE classid = catalog AND objid = object.oid AND deptype = 'e'
    )
ORDER BY 1
"""


def refuse_strangers(connection: Connection) -> None:
    """Check, without calling them, that nobody else has made what the owner's statements would use.

    Raises:
        CommandError: somebody has.
    """
    with connection.begin():
        found = connection.scalars(text(STRANGERS_SQL), {"schema": SCHEMA}).all()
    if found:
        raise CommandError(
            f"The schema {SCHEMA} holds what a migration would call with the owner's rights, made "
            f"by others: {', '.join(found)}. Nothing was changed. Drop it, or give it to the owner."
        )


def repair(
    connection: Connection, *, lock_timeout_seconds: float, pauses: Sequence[float]
) -> list[str]:
    """Make what differs from the description, and may be made unasked. Else write nothing.

    Each difference has a transaction of its own, so that locks are short, and one that this login
    may not repair does not keep the others back.

    Args:
        connection: of the owner.
        lock_timeout_seconds: how long to wait for a lock on a table.
        pauses: seconds between the attempts to get it.

    Returns:
        What differed and was tried.

    Raises:
        CommandError: the connection was lost.
    """
    with connection.begin():
        differences = isolation_differences(read_facts(connection, every_column=True))
    repairable = [difference for difference in differences if difference.is_repairable]
    for difference in repairable:
        for pause in (*pauses, 0):
            if _run(connection, difference.sql, lock_timeout_seconds) not in RETRIED:
                break
            time.sleep(pause)
    return [difference.what for difference in repairable]


def _run(connection: Connection, sql: str, lock_timeout_seconds: float) -> str:
    """Run the statements in a transaction. Returns the SQLSTATE of the error, or "" for none."""
    try:
        with connection.begin():
            connection.execute(text(f"SET LOCAL lock_timeout = {lock_timeout_seconds * 1000:.0f}"))
            connection.execute(text(sql))
    except DBAPIError as error:
        if error.connection_invalidated:
            raise CommandError(
                "The connection was lost while the isolation was repaired. Run this again."
            ) from error
        return str(getattr(error.orig, "pgcode", None))
    return ""


def remaining_differences(connection: Connection, *, with_schema: bool) -> list[Difference]:
    """Return what is not as described: after a repair, what somebody else has to do."""
    with connection.begin():
        facts = read_facts(connection, every_column=True)
    found = isolation_differences(facts)
    if with_schema:
        found += schema_differences(facts)
    return found


def sentence(differences: Sequence[Difference]) -> str:
    """Say what differs, and with which SQL a role that may do it makes it right."""
    whats = "; ".join(difference.what for difference in differences)
    statements = "; ".join(difference.sql for difference in differences)
    return f"{whats}. As a role that may, run: {statements};"
