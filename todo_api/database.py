"""The way to PostgreSQL: one connection for each request, a preamble to its statement, and an end to waiting.

Neon's pooled endpoint is PgBouncer in transaction mode, so keeping connections is its work and not ours: a connection
is opened for a request's statement and closed after it (NullPool). Autocommit makes that statement one message to the
server and one transaction, and the preamble travels in the same message.
"""

import math
import random
import re
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import psycopg2
from psycopg2 import extensions
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.pool import NullPool
from sqlmodel import Session

CONNECTION_STARTED = 2
"""libpq's status while TCP is being set up (https://www.postgresql.org/docs/current/libpq-status.html)."""

TCP_SHARE = 0.25
"""The share of a request's time that one address may take to accept: another may be alive behind the same name.
What accepts may take all the time that there is, for a suspended Neon compute wakes up behind an open connection."""

BACKOFF_SECONDS = (0.05, 1.0)
"""The first and the longest pause between attempts to connect, before jitter."""

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
_LOGIN_REFUSED = "(password|SASL) authentication failed"
_PERMANENT = (
    rf"{_LOGIN_REFUSED}|(database|role|user) .*does not exist|no such (database|user)|certificate|"
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


_deadline: ContextVar[float] = ContextVar("_deadline", default=math.inf)
"""When this context stops waiting for the database, on the monotonic clock, in seconds."""

_tcp_deadline: ContextVar[float] = ContextVar("_tcp_deadline", default=math.inf)
"""When this context stops waiting for TCP alone."""


class Database:
    """Opens sessions on one PostgreSQL database. Nothing connects before the first statement of a session."""

    def __init__(self, uri: Callable[[], str], preamble: str) -> None:
        """Create the engine. It connects when a session sends its statement.

        Args:
            uri: returns the libpq connection URI. It is asked at the first connection, and again when the password
                that it gave is refused.
            preamble: SQL to send ahead of every statement in the same message, with the parameters `caller` (the
                session's) and `milliseconds` (what is left of the session's time).
        """
        self._read_uri = uri
        self._preamble = preamble
        self._uri: str | None = None
        self._engine = self._create_engine()

    @contextmanager
    def session(self, *, caller: str, seconds: float) -> Iterator[Session]:
        """A session for one request of `caller`, which waits for the database no longer than `seconds` in all.

        Its statements raise `DatabaseUnavailable` when the database cannot be reached in time or refuses to work.
        """
        _deadline.set(time.monotonic() + seconds)
        try:
            with Session(self._engine.execution_options(caller=caller), expire_on_commit=False) as session:
                yield session
        finally:
            _deadline.set(math.inf)

    def _create_engine(self) -> Engine:
        # libpq waits for a frozen peer for ever, whatever its keepalives and timeouts say: psycopg2 hands every
        # wait of the process, connecting included, to this callback.
        extensions.set_wait_callback(_wait_until_deadline)
        engine = create_engine(
            "postgresql+psycopg2://",
            creator=self._connect,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            use_native_hstore=False,  # looking for the extension costs round trips
        )
        # SQLAlchemy would ask the first server it meets four questions, a round trip each, to prepare for what is not
        # done here: reflection, and servers older than PostgreSQL 9.
        engine.dialect.initialize = lambda *_: None  # type: ignore[method-assign]  # a subclass would need a registry
        event.listen(engine, "before_cursor_execute", self._prepend, retval=True)
        event.listen(engine, "handle_error", _unavailable)
        return engine

    def _prepend(
        self, connection: Connection, _cursor: object, statement: str, parameters: dict[str, Any], *_: object
    ) -> tuple[str, dict[str, Any]]:
        """Put the preamble ahead of a statement (SQLAlchemy's `before_cursor_execute`)."""
        # A tenth less than what is left, so that the server's own answer to a timeout still arrives.
        milliseconds = math.ceil(max(0.001, _deadline.get() - time.monotonic()) * 900)
        caller = connection.get_execution_options()["caller"]
        return self._preamble + statement, {**parameters, "caller": caller, "milliseconds": str(milliseconds)}

    def _connect(self) -> extensions.connection:
        """Connect, again and again while there is time: what has not been sent may be tried as often as one likes."""
        pause, longest = BACKOFF_SECONDS
        last_error = ""
        while True:
            if self._uri is None:
                self._uri = self._read_uri()
            began = time.monotonic()
            _tcp_deadline.set(began + (_deadline.get() - began) * TCP_SHARE)
            try:
                # Of several addresses behind a name another one comes first each time.
                return psycopg2.connect(self._uri, load_balance_hosts="random")
            except psycopg2.OperationalError as error:
                if isinstance(error, GaveUp):
                    error.connection.close()  # or it would stay open until the garbage collector comes
                    # A timeout says less than an earlier error, so report that one.
                    error.reason = last_error or error.reason
                if re.search(_LOGIN_REFUSED, _message(error)):
                    refused, self._uri = self._uri, self._read_uri()
                    if self._uri != refused:
                        continue
                last_error = _reason(error)
                wait = random.uniform(0, pause)  # noqa: S311  # full jitter, not a secret
                if re.search(_PERMANENT, _message(error)) or time.monotonic() + wait >= _deadline.get():
                    raise
            time.sleep(wait)
            pause = min(pause * 2, longest)


def _wait_until_deadline(connection: extensions.connection) -> None:
    """Wait for a connection's socket until it is ready or the deadline is past (psycopg2's wait callback)."""
    while (state := connection.poll()) != extensions.POLL_OK:
        deadline, reason = _deadline.get(), "timed out"
        if connection.info.status == CONNECTION_STARTED and _tcp_deadline.get() < deadline:
            deadline, reason = _tcp_deadline.get(), "no answer to TCP"
        seconds = max(0, deadline - time.monotonic())
        poller = select.poll()
        poller.register(connection.fileno(), select.POLLIN if state == extensions.POLL_READ else select.POLLOUT)
        if not poller.poll(None if seconds == math.inf else math.ceil(seconds * 1000)):
            raise GaveUp(connection, reason)


def _unavailable(context: ExceptionContext) -> DatabaseUnavailable | None:
    """The exception to raise instead of the driver's, or None where the driver's tells of a bug."""
    error = context.original_exception
    if not isinstance(error, psycopg2.Error):
        return None
    connected = context.connection is not None
    sqlstate = error.pgcode
    refused = (sqlstate or "").startswith(_REFUSED) or _NO_SERVER_CONNECTION in _message(error)
    if not refused and not isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
        return None
    return DatabaseUnavailable(
        may_have_run=connected and not refused,
        phase="execute" if connected else "connect",
        reason=_reason(error),
        sqlstate=sqlstate,
        misconfigured=(sqlstate or "").startswith(_MISCONFIGURED) or bool(re.search(_PERMANENT, _message(error))),
    )


def _reason(error: psycopg2.Error) -> str:
    """What happened, for the log."""
    if isinstance(error, GaveUp):
        return error.reason
    return _message(error).partition("\n")[0] or type(error).__name__


def _message(error: psycopg2.Error) -> str:
    """What libpq or a pooler says; nothing for an error of a statement, whose message may contain user input."""
    is_of_the_connection = error.pgcode is None or error.pgcode.startswith("08")
    return str(error) if is_of_the_connection else ""
