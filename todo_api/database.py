"""The way to PostgreSQL: one connection for each request, and an end to waiting.

Neon's pooled endpoint is PgBouncer in transaction mode, so keeping connections is its work and not ours: a
connection is opened for a request's statement and closed after it (NullPool). Autocommit makes that statement
one message to the server, and one transaction.
"""

import math
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property

import psycopg2
from psycopg2 import extensions
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.pool import NullPool
from sqlmodel import Session

# https://www.postgresql.org/docs/current/errcodes-appendix.html: the server refused the statement, so it had no
# effect, and the same statement may succeed on another day. Any other SQLSTATE is a bug of ours.
_REFUSED = (
    "25006",  # read_only_sql_transaction
    "3D000",  # invalid_catalog_name: no such database
    "42501",  # insufficient_privilege
    "42P01",  # undefined_table: the migrations have not run
    "42703",  # undefined_column: the same
    "40",  # transaction rollback: serialization failure, deadlock
    "53",  # insufficient resources: disk full, too many connections
    "55",  # object not in prerequisite state: a lock was not available
    "57014",  # query_canceled: the statement timeout
    "58",  # system error: an I/O error
)


class DatabaseUnavailable(Exception):
    """The database did not do what a request needs, through no fault of the caller.

    Attributes:
        may_have_run: whether the statement may have taken effect; False when it certainly did not.
        phase: `connect` or `execute`.
        sqlstate: PostgreSQL's five-character code, where there is one.
        reason: the driver's exception class. Its text is left out: it may hold a host, a value or a statement.
    """

    def __init__(self, *, may_have_run: bool, phase: str, sqlstate: str | None, reason: str) -> None:
        super().__init__(f"{reason} in phase {phase}, SQLSTATE {sqlstate}")
        self.may_have_run = may_have_run
        self.phase = phase
        self.sqlstate = sqlstate
        self.reason = reason


class DeadlineExceeded(psycopg2.OperationalError):
    """The request's time for the database is used up."""


_deadline: ContextVar[float] = ContextVar("_deadline", default=math.inf)
"""When this context stops waiting for the database, on the monotonic clock, in seconds."""


class Database:
    """Opens sessions on one PostgreSQL database. Nothing connects before the first statement of a session."""

    def __init__(self, uri: str) -> None:
        """Remember `uri`, a libpq connection URI with its query string."""
        self._uri = uri

    @contextmanager
    def session(self, *, seconds: float) -> Iterator[Session]:
        """A session for one request, which waits for the database no longer than `seconds` in all.

        Its statements raise `DatabaseUnavailable` when the database cannot be reached in time or refuses to work.
        """
        _deadline.set(time.monotonic() + seconds)
        try:
            with Session(self._engine, expire_on_commit=False) as session:
                yield session
        finally:
            _deadline.set(math.inf)

    @cached_property
    def _engine(self) -> Engine:
        # libpq waits for a frozen peer for ever, whatever its keepalives and timeouts say: psycopg2 hands every
        # wait of the process, connecting included, to this callback.
        extensions.set_wait_callback(_wait_until_deadline)
        engine = create_engine(
            "postgresql+psycopg2://",
            creator=lambda: psycopg2.connect(self._uri),  # libpq reads the query string better than a translation of it
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            use_native_hstore=False,  # looking for the extension costs round trips
            hide_parameters=True,  # they are titles, descriptions and user ids
        )
        event.listen(engine, "handle_error", _unavailable)
        return engine


def _wait_until_deadline(connection: extensions.connection) -> None:
    """Wait for a connection's socket until it is ready or the deadline is past (psycopg2's wait callback)."""
    while (state := connection.poll()) != extensions.POLL_OK:
        seconds = _deadline.get() - time.monotonic()
        if seconds <= 0:
            raise DeadlineExceeded("the time for the database is used up")
        poller = select.poll()
        poller.register(connection.fileno(), select.POLLIN if state == extensions.POLL_READ else select.POLLOUT)
        poller.poll(None if seconds == math.inf else math.ceil(seconds * 1000))


def _unavailable(context: ExceptionContext) -> DatabaseUnavailable | None:
    """The exception to raise instead of the driver's, or None where the driver's tells of a bug."""
    error = context.original_exception
    sqlstate = error.pgcode if isinstance(error, psycopg2.Error) else None
    connected = context.connection is not None
    refused = sqlstate is not None and sqlstate.startswith(_REFUSED)
    if not refused and not isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
        return None
    return DatabaseUnavailable(
        may_have_run=connected and not refused,
        phase="execute" if connected else "connect",
        sqlstate=sqlstate,
        reason=type(error).__name__,
    )
