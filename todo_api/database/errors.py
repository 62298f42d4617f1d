"""The typed failures of the database, and which errors of psycopg2 stand for them."""

from dataclasses import dataclass
from typing import Any, Literal

import psycopg2
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

_UNIQUE_VIOLATION = "23505"
# The second is that of RESTRICT, since PostgreSQL 18.
_FOREIGN_KEY_VIOLATIONS = ("23503", "23001")


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
class ConstraintViolation(Exception):
    """A row would repeat a unique value, refer to one that its user does not have, or lose it."""

    field: str  # the column, or "" if it is only the owner's
    is_duplicate: bool


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


def translate_constraint_violation(context: ExceptionContext) -> ConstraintViolation | None:
    """Translate the violation of a unique or a foreign key of the models.

    SQLAlchemy calls this as `handle_error`.
    """
    error = context.original_exception
    if not isinstance(error, psycopg2.Error) or _user_was_deleted(error):
        return None
    field = _violated_field(error)
    if field is None:
        return None
    return ConstraintViolation(field, is_duplicate=error.pgcode == _UNIQUE_VIOLATION)


def _user_was_deleted(error: psycopg2.Error) -> bool:
    """Return whether the user's row went away while a statement wrote the user's first rows."""
    return error.pgcode in _FOREIGN_KEY_VIOLATIONS and _violated_field(error) == ""


def _violated_field(error: psycopg2.Error) -> str | None:
    """Return the first column but the owner's of a violated key, or "" if it has no other.

    None: it is no key of the models.
    """
    if error.pgcode not in (_UNIQUE_VIOLATION, *_FOREIGN_KEY_VIOLATIONS):
        return None
    for table in User.metadata.sorted_tables:
        keys: list[Any] = [*table.constraints, *table.indexes]
        for key in keys:
            if key.name == error.diag.constraint_name:
                columns = [column.name for column in key.columns]
                return next((name for name in columns if name != table.info.get("owner")), "")
    return None


def reason_of(error: psycopg2.Error) -> str:
    """Return what happened, for the log."""
    if isinstance(error, DeadlineExceeded):
        return error.reason
    if (error.pgcode or "").startswith(_WITHOUT_INPUT):
        return error.diag.message_primary or type(error).__name__
    return connection_message(error).partition("\n")[0] or type(error).__name__
