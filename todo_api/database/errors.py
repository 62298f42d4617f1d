"""The typed failures of the database, and which errors of psycopg2 stand for them."""

import re
from dataclasses import dataclass
from typing import Literal

import psycopg2
import sqlalchemy as sa
from psycopg2 import extensions
from sqlalchemy.engine import ExceptionContext

from todo_api.models.tables import User

# SQLSTATE prefixes with which the server refused the statement and rolled back, through no fault of
# the caller or the code (https://www.postgresql.org/docs/current/errcodes-appendix.html). Any other
# SQLSTATE is a bug.
_MISCONFIGURED = (
    "22023",  # invalid_parameter_value: the role to switch to does not exist
    "28",  # invalid authorization specification
    "3D000",  # invalid_catalog_name: the database does not exist
    "42501",  # insufficient_privilege
    "42P01",  # undefined_table: the migrations have not run
    "42703",  # undefined_column: the same
)
_REFUSED = (
    *_MISCONFIGURED,
    "25006",  # read_only_sql_transaction
    "40",  # transaction rollback: serialization failure, deadlock
    "53",  # insufficient resources: disk full, too many connections
    "55",  # object not in prerequisite state: a lock was not available
    "57",  # operator intervention: statement timeout, shutdown, terminated by an administrator
    "58",  # system error: an I/O error
    "XX",  # internal error
)

# SQLSTATEs whose message names a table, a column or the role, and never a value.
_NAMING_THE_SCHEMA = (
    "42501",  # insufficient_privilege
    "42703",  # undefined_column
    "42P01",  # undefined_table
)

FOREIGN_KEY_VIOLATIONS = ("23503", "23001")
"""The second is that of RESTRICT, since PostgreSQL 18."""

# Failures to connect have no SQLSTATE, only a text from libpq, the server or a pooler.
LOGIN_REFUSED = "(password|SASL) authentication failed"
PERMANENT = (
    rf"{LOGIN_REFUSED}|(database|role|user) .*does not exist|no such (database|user)|certificate|"
    "no pg_hba.conf entry|server does not support SSL|channel binding|"
    # Neon's proxy (https://github.com/neondatabase/neon/tree/main/proxy/src)
    "endpoint (cannot|could not) be found|endpoint is disabled|Endpoint ID is not specified|"
    "[Qq]uota|not allowed to connect|blocked network"
)
# PgBouncer had no server connection for the statement, and so did not send it on.
NOT_FORWARDED = "query_wait_timeout|server_login_retry"


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


def database_unavailable(context: ExceptionContext) -> DatabaseUnavailable | None:
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
        sqlstate.startswith(_REFUSED)
        or bool(re.search(NOT_FORWARDED, message))
        or _user_was_deleted(error)
    )
    if not refused and not isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
        return None
    misconfigured = sqlstate.startswith(_MISCONFIGURED) or bool(re.search(PERMANENT, message))
    return DatabaseUnavailable(
        may_have_run=connected and not refused,
        phase="execute" if connected else "connect",
        reason=reason_of(error),
        sqlstate=error.pgcode,
        misconfigured=misconfigured,
    )


def foreign_key_violation(context: ExceptionContext) -> ForeignKeyViolation | None:
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
    keys = [key for table in User.metadata.sorted_tables for key in table.foreign_key_constraints]
    return next((key for key in keys if key.name == error.diag.constraint_name), None)


def _field_of(key: sa.ForeignKeyConstraint) -> str | None:
    """Return the column of a reference, or None for a key that is only the row's owner."""
    owner = key.table.info.get("owner")
    return next((name for name in key.column_keys if name != owner), None)


def reason_of(error: psycopg2.Error) -> str:
    """Return what happened, for the log."""
    if isinstance(error, DeadlineExceeded):
        return error.reason
    if error.pgcode in _NAMING_THE_SCHEMA:
        return error.diag.message_primary or type(error).__name__
    return connection_message(error).partition("\n")[0] or type(error).__name__


def connection_message(error: psycopg2.Error) -> str:
    """Return the message of a connection error, and "" for an error of a statement.

    A statement's message may contain user input.
    """
    is_connection_error = error.pgcode is None or error.pgcode.startswith("08")
    return str(error) if is_connection_error else ""
