"""The typed failures of the database, and which errors of psycopg2 stand for them."""

from dataclasses import dataclass
from typing import Literal

import psycopg2
import sqlalchemy as sa
from psycopg2 import extensions
from sqlalchemy.engine import ExceptionContext

from todo_api.database.refusals import Refusal, connection_message, refusal_of, was_not_forwarded
from todo_api.models.tables import User

# The schema is not as the code needs it.
_OF_THE_SCHEMA = (
    "42501",  # insufficient_privilege
    "42P01",  # undefined_table: the migrations have not run
    "42703",  # undefined_column: the same
    "42P10",  # invalid_column_reference: no unique index for ON CONFLICT
)
# SQLSTATE prefixes with which the server refused the statement and rolled back, through no fault of
# the caller or the code (https://www.postgresql.org/docs/current/errcodes-appendix.html). With any
# other, an OperationalError has an unknown outcome, and everything else is a bug.
_MISCONFIGURED = (
    "22023",  # invalid_parameter_value: the role to switch to does not exist
    "28",  # invalid authorization specification
    "3D000",  # invalid_catalog_name: the database does not exist
    *_OF_THE_SCHEMA,
)
_REFUSED = (
    *_MISCONFIGURED,
    "25006",  # read_only_sql_transaction
    "40",  # transaction rollback: serialization failure, deadlock
    "53",  # insufficient resources: disk full, too many connections
    "54",  # program limit exceeded: the statement is too complex
    "55",  # object not in prerequisite state: a lock was not available
    "57",  # operator intervention: statement timeout, shutdown, terminated by an administrator
    "58",  # system error: an I/O error
    "XX",  # internal error
)

# SQLSTATE prefixes whose message may name a table, a column or the role, and never a value.
_WITHOUT_INPUT = (*_OF_THE_SCHEMA, "25006", "40", "53", "55", "57")

FOREIGN_KEY_VIOLATIONS = ("23503", "23001")
"""The second is that of RESTRICT, since PostgreSQL 18."""


@dataclass(eq=False)
class DatabaseUnavailable(Exception):
    """The database did not do what a request needs, through no fault of the caller."""

    may_have_run: bool  # False if the statement certainly had no effect
    phase: Literal["credentials", "connect", "execute"]
    # Without user input: libpq's first line for a connection error, what the schema lacks, or an
    # exception class.
    reason: str
    sqlstate: str | None = None
    misconfigured: bool = False  # the error stays until somebody changes the configuration

    def __str__(self) -> str:
        return f"{self.phase}: {self.reason}"


@dataclass(eq=False)
class ForeignKeyViolation(Exception):
    """A row would refer to one that its user does not have, or would lose the one it refers to."""

    field: str  # the column of the reference


class DeadlineExceeded(psycopg2.OperationalError):
    """The request's time for the database is used up."""

    def __init__(self, connection: extensions.connection, reason: str) -> None:
        super().__init__(reason)
        self.connection = connection
        self.reason = reason


def translate_unavailable(context: ExceptionContext) -> DatabaseUnavailable | None:
    """Translate the driver's exception, or return None if it is a bug.

    SQLAlchemy calls this as `handle_error`.
    """
    error = context.original_exception
    if not isinstance(error, psycopg2.Error):
        return None
    connected = context.connection is not None
    sqlstate = error.pgcode or ""
    message = connection_message(error)
    refused = (
        sqlstate.startswith(_REFUSED) or was_not_forwarded(message) or _user_was_deleted(error)
    )
    if not refused and not _is_of_the_connection(error):
        return None
    is_misconfigured = (
        sqlstate.startswith(_MISCONFIGURED) or refusal_of(message) is Refusal.MISCONFIGURED
    )
    return DatabaseUnavailable(
        may_have_run=connected and not refused,
        phase="execute" if connected else "connect",
        reason=reason_of(error),
        sqlstate=error.pgcode,
        misconfigured=is_misconfigured,
    )


def _is_of_the_connection(error: psycopg2.Error) -> bool:
    # psycopg2 raises the base class itself for an answer that libpq does not understand.
    is_base_class = type(error) is psycopg2.DatabaseError
    return is_base_class or isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)


def translate_foreign_key_violation(context: ExceptionContext) -> ForeignKeyViolation | None:
    """Translate the violation of a reference to anything but the row's own user.

    SQLAlchemy calls this as `handle_error`.
    """
    key = _violated_key(context.original_exception)
    field = key and _field_of(key)
    return ForeignKeyViolation(field) if field else None


def _user_was_deleted(error: psycopg2.Error) -> bool:
    """Return whether the user's row went away while a statement wrote the user's first rows."""
    key = _violated_key(error)
    return key is not None and _field_of(key) is None


def _violated_key(error: BaseException) -> sa.ForeignKeyConstraint | None:
    if not isinstance(error, psycopg2.Error) or error.pgcode not in FOREIGN_KEY_VIOLATIONS:
        return None
    for table in User.metadata.sorted_tables:
        for key in table.foreign_key_constraints:
            if key.name == error.diag.constraint_name:
                return key
    return None


def _field_of(key: sa.ForeignKeyConstraint) -> str | None:
    """Return the column of a reference, or None for a key that is only the row's owner."""
    owner = key.table.info.get("owner")
    return next((name for name in key.column_keys if name != owner), None)


def reason_of(error: psycopg2.Error) -> str:
    """Return what happened, for the log."""
    if isinstance(error, DeadlineExceeded):
        return error.reason
    if (error.pgcode or "").startswith(_WITHOUT_INPUT):
        return error.diag.message_primary or type(error).__name__
    return connection_message(error).partition("\n")[0] or type(error).__name__
