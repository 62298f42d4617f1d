"""What can go wrong with the database, by phase, exception class, SQLSTATE and text."""

import re
from dataclasses import dataclass
from typing import Literal

import psycopg2
from psycopg2 import extensions
from sqlalchemy.engine import ExceptionContext

# https://www.postgresql.org/docs/current/errcodes-appendix.html: with these the server has refused the statement and
# rolled back, through no fault of the caller or the code. Any other SQLSTATE tells of a bug.
_MISCONFIGURED = (
    "22023",  # invalid_parameter_value: no such role to switch to
    "28",  # invalid authorization specification
    "3D000",  # invalid_catalog_name: no such database
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
    "XX",  # internal error of the server
)

# A failure to connect has no SQLSTATE, only a text of libpq, the server or a pooler.
LOGIN_REFUSED = "(password|SASL) authentication failed"
PERMANENT = (
    rf"{LOGIN_REFUSED}|(database|role|user) .*does not exist|no such (database|user)|certificate|"
    "no pg_hba.conf entry|server does not support SSL"
)
_NO_SERVER_CONNECTION = "query_wait_timeout"
"""PgBouncer had no free server connection for the statement, and so has not sent it on."""


@dataclass(eq=False)
class DatabaseUnavailable(Exception):
    """The database did not do what a request needs, through no fault of the caller."""

    may_have_run: bool
    """Whether the statement may have taken effect; False when it certainly did not."""

    phase: Literal["credentials", "connect", "execute"]
    reason: str
    """What happened, without user input: libpq's first line for an error of the connection, else an exception class."""

    sqlstate: str | None = None
    misconfigured: bool = False
    """Whether it stays so until somebody changes the configuration."""

    def __str__(self) -> str:
        return f"{self.phase}: {self.reason}"


class GaveUp(psycopg2.OperationalError):
    """There is no time left to wait for `connection`."""

    def __init__(self, connection: extensions.connection, reason: str) -> None:
        super().__init__(reason)
        self.connection = connection
        self.reason = reason


def unavailable(context: ExceptionContext) -> DatabaseUnavailable | None:
    """The exception to raise instead of the driver's, or None where the driver's tells of a bug."""
    error = context.original_exception
    if not isinstance(error, psycopg2.Error):
        return None
    connected = context.connection is not None
    sqlstate = error.pgcode
    refused = (sqlstate or "").startswith(_REFUSED) or _NO_SERVER_CONNECTION in message_of(error)
    if not refused and not isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
        return None
    return DatabaseUnavailable(
        may_have_run=connected and not refused,
        phase="execute" if connected else "connect",
        reason=reason_of(error),
        sqlstate=sqlstate,
        misconfigured=(sqlstate or "").startswith(_MISCONFIGURED) or bool(re.search(PERMANENT, message_of(error))),
    )


def reason_of(error: psycopg2.Error) -> str:
    """What happened, for the log."""
    if isinstance(error, GaveUp):
        return error.reason
    return message_of(error).partition("\n")[0] or type(error).__name__


def message_of(error: psycopg2.Error) -> str:
    """What libpq or a pooler says; nothing for an error of a statement, whose message may contain user input."""
    is_of_the_connection = error.pgcode is None or error.pgcode.startswith("08")
    return str(error) if is_of_the_connection else ""
