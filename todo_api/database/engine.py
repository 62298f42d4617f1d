"""PostgreSQL access: one connection per request, a deadline, typed failures.

Neon's pooled endpoint is PgBouncer in transaction mode, so it keeps the connections and we do not (NullPool). With
autocommit, the session settings and the statement are one message, and so one transaction and one round trip.
"""

import math
import random
import re
import select
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import psycopg2
from psycopg2 import extensions
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool
from sqlmodel import Session

from todo_api.database.errors import (
    LOGIN_REFUSED,
    PERMANENT,
    DatabaseUnavailable,
    DeadlineExceeded,
    connection_message,
    database_unavailable,
    reason_of,
)

CONNECTION_STARTED = 2  # TCP is connecting (https://www.postgresql.org/docs/current/libpq-status.html)
BACKOFF_SECONDS = (0.05, 1.0)  # the first and the longest pause between attempts to connect, before jitter

# The fraction of the remaining time that TCP may take to connect: another address of the host may be alive. The rest of
# an attempt may use all of the time, because a suspended Neon compute wakes up behind an open connection.
TCP_TIMEOUT_FRACTION = 0.25

# Of the operating system, because the copies of a SnapStart snapshot would share Python's generator and its pauses.
_random = random.SystemRandom()

# On `time.monotonic()`: when the request stops waiting for the database, and its current attempt for TCP.
_deadline: ContextVar[float] = ContextVar("_deadline", default=math.inf)
_tcp_deadline: ContextVar[float] = ContextVar("_tcp_deadline", default=math.inf)


class Database:
    """Opens sessions on one PostgreSQL database. Nothing connects before a session's first statement."""

    def __init__(self, read_url: Callable[[], str], session_setup_sql: str) -> None:
        """Create the engine.

        Args:
            read_url: returns the libpq connection URL. Called at the first connection, and when the login is refused.
            session_setup_sql: SQL to send in the same message before every statement, with the parameters
                `session_user_id` and `milliseconds` (the session's remaining time).
        """
        self._read_url = read_url
        self._session_setup_sql = session_setup_sql
        self._url = ""
        self._reader = ThreadPoolExecutor()
        self._engine = self._create_engine()

    @contextmanager
    def session(self, *, user_id: str, timeout_seconds: float) -> Iterator[Session]:
        """Open a session for one request of a user.

        Its statements raise `DatabaseUnavailable` if the database does not do them within the timeout.
        """
        _deadline.set(time.monotonic() + timeout_seconds)
        try:
            with Session(self._engine.execution_options(user_id=user_id), expire_on_commit=False) as session:
                yield session
        finally:
            _deadline.set(math.inf)

    def _create_engine(self) -> Engine:
        # libpq's keepalives and timeouts do not end the wait for a frozen server. psycopg2 calls this for every wait.
        extensions.set_wait_callback(_wait_until_deadline)
        engine = create_engine(
            "postgresql+psycopg2://",
            creator=self._connect,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            use_native_hstore=False,  # looking for the extension costs round trips
        )
        # SQLAlchemy would send four queries on the first connection, to prepare for features that are not used here.
        engine.dialect.initialize = lambda *_: None  # type: ignore[method-assign]  # a subclass would need a registry
        event.listen(engine, "before_cursor_execute", self._add_session_setup, retval=True)
        event.listen(engine, "handle_error", database_unavailable)
        return engine

    def _add_session_setup(
        self, connection: Connection, _cursor: object, statement: str, parameters: dict[str, Any], *_: object
    ) -> tuple[str, dict[str, Any]]:
        # The server gets 90 % of the remaining time, so that its own timeout error still arrives.
        milliseconds = math.ceil(max(0.001, _deadline.get() - time.monotonic()) * 900)
        user_id = connection.get_execution_options()["user_id"]
        setup = {"session_user_id": user_id, "milliseconds": str(milliseconds)}
        return self._session_setup_sql + statement, {**parameters, **setup}

    def _connect(self) -> extensions.connection:
        """Connect, retrying until the deadline. Nothing has been sent yet, so a retry is safe."""
        pause, longest = BACKOFF_SECONDS
        last_error = ""
        while True:
            url = self._url = self._url or self._read_url_until_deadline()
            now = time.monotonic()
            _tcp_deadline.set(now + (_deadline.get() - now) * TCP_TIMEOUT_FRACTION)
            try:
                # "random": a retry may reach another of the addresses of the host name.
                # UTF8: the role or database may be set to an encoding that lacks characters.
                return psycopg2.connect(url, load_balance_hosts="random", client_encoding="UTF8")
            except psycopg2.OperationalError as error:
                message = connection_message(error)
                if isinstance(error, DeadlineExceeded):
                    error.connection.close()  # or it would stay open until it is garbage-collected
                    # A timeout says less than an earlier error, so report that one.
                    error.reason = last_error or error.reason
                if re.search(LOGIN_REFUSED, message):
                    if self._url == url:  # else another thread has read it again
                        self._url = self._read_url_until_deadline()
                    if self._url != url:
                        continue
                last_error = reason_of(error)
                wait = _random.uniform(0, pause)  # full jitter
                if re.search(PERMANENT, message) or time.monotonic() + wait >= _deadline.get():
                    raise
            time.sleep(wait)
            pause = min(pause * 2, longest)

    def _read_url_until_deadline(self) -> str:
        # In another thread, because boto3 limits the steps of a call, but not the whole.
        try:
            return self._reader.submit(self._read_url).result(max(0, _deadline.get() - time.monotonic()))
        except TimeoutError:
            raise DatabaseUnavailable(may_have_run=False, phase="credentials", reason="timed out") from None


def _wait_until_deadline(connection: extensions.connection) -> None:
    """Wait until a connection's socket is ready (psycopg2's wait callback)."""
    while (state := connection.poll()) != extensions.POLL_OK:
        deadline, reason = _deadline.get(), "timed out"
        if connection.info.status == CONNECTION_STARTED and _tcp_deadline.get() < deadline:
            deadline, reason = _tcp_deadline.get(), "TCP connect timed out"
        seconds = max(0, deadline - time.monotonic())
        poller = select.poll()
        poller.register(connection.fileno(), select.POLLIN if state == extensions.POLL_READ else select.POLLOUT)
        if not poller.poll(None if seconds == math.inf else math.ceil(seconds * 1000)):
            raise DeadlineExceeded(connection, reason)
