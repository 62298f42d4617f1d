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
from typing import Any

import psycopg2
from psycopg2 import extensions
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool
from sqlmodel import Session

from todo_api.database.errors import LOGIN_REFUSED, PERMANENT, GaveUp, message_of, reason_of, unavailable

CONNECTION_STARTED = 2
"""libpq's status while TCP is being set up (https://www.postgresql.org/docs/current/libpq-status.html)."""

TCP_SHARE = 0.25
"""The share of a request's time that one address may take to accept: another may be alive behind the same name.
What accepts may take all the time that there is, for a suspended Neon compute wakes up behind an open connection."""

BACKOFF_SECONDS = (0.05, 1.0)
"""The first and the longest pause between attempts to connect, before jitter."""

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
        event.listen(engine, "handle_error", unavailable)
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
                if re.search(LOGIN_REFUSED, message_of(error)):
                    refused, self._uri = self._uri, self._read_uri()
                    if self._uri != refused:
                        continue
                last_error = reason_of(error)
                wait = random.uniform(0, pause)  # noqa: S311  # full jitter, not a secret
                if re.search(PERMANENT, message_of(error)) or time.monotonic() + wait >= _deadline.get():
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
