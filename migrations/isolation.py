"""Makes a database isolate users as the models describe it.

Isolation is state, not history: a restored database has the number of its revision, and may have
lost the role, the policies and the rights. So this runs with every migration, after the revisions.
"""

from collections.abc import Sequence

from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from migrations.locks import retry_for_locks
from todo_api.database.catalog import Facts, read_facts
from todo_api.database.differences import Difference, isolation_differences
from todo_api.database.isolation import SCHEMA
from todo_api.database.readiness import schema_differences

# Objects that the owner's own statements would use in place of the system's or of the migrations':
# PostgreSQL takes an operator or a function with the exact argument types wherever it stands on the
# search path. Trusted are superusers, the database's owner, and whoever the session may act as, if
# that is not everybody.
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
WHERE NOT rolsuper AND (
        NOT pg_has_role(session_user, owner, 'USAGE')
        OR (SELECT rolsuper FROM pg_roles WHERE rolname = session_user)
    )
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
            f"by others: {', '.join(found)}. No revision was applied. Drop it, or give it to the "
            "owner."
        )


def repair(connection: Connection) -> list[str]:
    """Make what differs from the description, and may be made unasked. Else write nothing.

    Each difference has a transaction of its own, so that locks are short, and one that this login
    may not repair does not keep the others back.

    Args:
        connection: of the owner.

    Returns:
        What differed and was tried.

    Raises:
        CommandError: the connection was lost, or others kept a lock.
    """
    facts = _read_facts(connection)
    repairable = [found for found in isolation_differences(facts) if found.is_repairable]
    for difference in repairable:
        _repair(connection, difference)
    return [difference.what for difference in repairable]


def _repair(connection: Connection, difference: Difference) -> None:
    """Run the statements in a transaction, and leave things as they are if they are refused."""

    def run() -> None:
        with connection.begin():
            connection.exec_driver_sql(difference.sql)

    try:
        retry_for_locks(connection, run, f"{difference.what}, and this was not repaired")
    except DBAPIError as error:
        if error.connection_invalidated:
            raise CommandError(
                "The connection was lost while the isolation was repaired. Run this again."
            ) from error


def _read_facts(connection: Connection) -> Facts:
    def read() -> Facts:
        with connection.begin():
            return read_facts(connection, every_column=True)

    return retry_for_locks(connection, read, "The isolation between users was not checked")


def remaining_differences(connection: Connection, *, with_schema: bool) -> list[Difference]:
    """Return what is not as described: after a repair, what somebody else has to do."""
    facts = _read_facts(connection)
    found = isolation_differences(facts)
    if with_schema:
        found += schema_differences(facts)
    return found


def sentence(differences: Sequence[Difference]) -> str:
    """Say what differs, and with which SQL a role that may do it makes it right."""
    found = "; ".join(difference.what for difference in differences)
    statements = "; ".join(difference.sql for difference in differences if difference.sql)
    result = f"{found}."
    if statements:
        result += f" As a role that may, run: {statements}; and then migrate again."
    # A column that is added by hand is in the way of the revision that adds it.
    if any(difference.is_made_by_revision for difference in differences):
        result += (
            " What is missing comes from a revision, which `make revision NAME=…` writes, "
            "or from a backup."
        )
    return result
