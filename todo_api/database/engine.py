"""PostgreSQL access: one connection per request, a deadline, typed failures.

Neon's pooled endpoint is PgBouncer in transaction mode, so it keeps the connections and we do not
(NullPool). With autocommit, the session settings and the statement are one message, and so one
transaction and one round trip.
"""

import logging
import math
import random
import re
import select
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2 import extensions
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool
from sqlmodel import Session

from todo_api.database import errors
from todo_api.database.isolation import SESSION_SETUP_SQL
from todo_api.database.url import may_start_tls_directly, unavailable

# The first and the longest pause between attempts to connect, before jitter.
BACKOFF_SECONDS = (0.05, 1.0)

# The fraction of the remaining time for TCP, because another address of the host may be alive, and
# for TLS that starts directly, because the server may want to be asked. The rest of an attempt may
# use all of the time, because a suspended Neon compute wakes up behind an open connection.
HANDSHAKE_TIMEOUT_FRACTION = 0.25

# https://www.postgresql.org/docs/current/libpq-status.html
CONNECTION_STARTED, CONNECTION_SSL_STARTUP = 2, 7

# Of the operating system, because the copies of a SnapStart snapshot would share Python's generator
# and its pauses.
_random = random.SystemRandom()

logger = logging.getLogger("todo_api")


@dataclass
class _Wait:
    """One request's wait for the database.

    Times are those of `time.monotonic()`, and 0 before the event.
    """

    deadline: float = math.inf
    handshake_deadline: float = math.inf  # of the current attempt to connect
    starts_tls_directly: bool = False  # the current attempt
    state: int = 0  # libpq's, when it last waited
    attempts: int = 0
    connect_started: float = 0
    statement_started: float = 0

    def summary(self) -> dict[str, float]:
        """Return what the request's log line says of it."""
        end = time.monotonic()
        connect = (self.statement_started or end) - self.connect_started
        statement = end - (self.statement_started or end)
        return {
            "attempts": self.attempts,
            "connect_milliseconds": round(connect * 1000, 1),
            "statement_milliseconds": round(statement * 1000, 1),
        }


# The default has no deadline, and is never changed.
_wait: ContextVar[_Wait] = ContextVar("_wait", default=_Wait())  # noqa: B039


class Database:
    """Opens sessions on one PostgreSQL database.

    Nothing connects before a session's first statement.
    """

    def __init__(self, read_url: Callable[[], str]) -> None:
        """Create the engine.

        Args:
            read_url: returns the libpq connection URL. Called at the first connection, and when the
                login is refused.
        """
        self._read_url = read_url
        self._reader = ThreadPoolExecutor()
        self._url = ""
        self._starts_tls_directly = False
        self._engine = self._create_engine()

    @contextmanager
    def session(self, *, user_id: str, timeout_seconds: float) -> Iterator[Session]:
        """Open a session for one request of a user.

        After it, `Session.info` says what the request has waited for.

        Its statements raise `DatabaseUnavailable` if the database does not do them in time.
        """
        wait = _Wait(deadline=time.monotonic() + timeout_seconds)
        _wait.set(wait)
        try:
            with Session(self._engine.execution_options(user_id=user_id)) as session:
                yield session
        finally:
            _wait.set(_Wait())
            if wait.connect_started:
                session.info.update(wait.summary())

    def _create_engine(self) -> Engine:
        # libpq's keepalives and timeouts do not end the wait for a frozen server. psycopg2 calls
        # this for every wait.
        extensions.set_wait_callback(_wait_until_deadline)
        engine = create_engine(
            "postgresql+psycopg2://",
            creator=self._connect,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            use_native_hstore=False,  # looking for the extension costs round trips
        )
        # SQLAlchemy would send four queries on the first connection, to prepare for features that
        # are not used here. A subclass of the dialect would need a registry.
        engine.dialect.initialize = lambda *_: None  # type: ignore[method-assign]
        event.listen(engine, "before_cursor_execute", self._add_session_setup, retval=True)
        event.listen(engine, "handle_error", errors.database_unavailable)
        event.listen(engine, "handle_error", errors.foreign_key_violation)
        return engine

    def _add_session_setup(
        self,
        connection: Connection,
        _cursor: object,
        statement: str,
        parameters: dict[str, Any],
        *_: object,
    ) -> tuple[str, dict[str, Any]]:
        wait = _wait.get()
        wait.statement_started = time.monotonic()
        # The server gets 90 % of the remaining time, so that its own timeout error still arrives.
        milliseconds = math.ceil(max(0.001, wait.deadline - wait.statement_started) * 900)
        user_id = connection.get_execution_options()["user_id"]
        setup = {"session_user_id": user_id, "milliseconds": str(milliseconds)}
        return SESSION_SETUP_SQL + statement, {**parameters, **setup}

    def _connect(self) -> extensions.connection:
        """Connect, retrying until the deadline. Nothing has been sent yet, so a retry is safe."""
        wait, pause, last_error, asks_for_tls = _wait.get(), BACKOFF_SECONDS[0], "", False
        wait.connect_started = time.monotonic()
        while True:
            url = self._url or self._read_url_until(wait.deadline)
            wait.starts_tls_directly = self._starts_tls_directly and not asks_for_tls
            try:
                connection = self._attempt(url, wait)
            except psycopg2.OperationalError as error:
                message = errors.connection_message(error)
                if isinstance(error, errors.DeadlineExceeded):
                    error.connection.close()  # or it would stay open until it is garbage-collected
                    # A timeout says less than an earlier error, so report that one.
                    error.reason = last_error or error.reason
                if re.search(errors.LOGIN_REFUSED, message):
                    if self._url == url:  # else another thread has read it again
                        self._read_url_until(wait.deadline)
                    if self._url != url:
                        continue
                last_error = errors.reason_of(error)
                seconds = _random.uniform(0, pause)  # full jitter
                is_permanent = re.search(errors.PERMANENT, message)
                if is_permanent or time.monotonic() + seconds >= wait.deadline:
                    raise
            else:
                if asks_for_tls:
                    self._starts_tls_directly = False
                return connection
            if wait.starts_tls_directly and wait.state == CONNECTION_SSL_STARTUP:
                asks_for_tls = True
                logger.warning(
                    "the server may want to be asked for TLS, which costs one more round trip"
                )
            else:
                time.sleep(seconds)
                pause = min(pause * 2, BACKOFF_SECONDS[1])

    def _attempt(self, url: str, wait: _Wait) -> extensions.connection:
        now = time.monotonic()
        wait.attempts += 1
        wait.handshake_deadline = now + (wait.deadline - now) * HANDSHAKE_TIMEOUT_FRACTION
        # "random": a retry may reach another of the host's addresses. UTF8: whatever the role or
        # database says.
        options: dict[str, Any] = {"load_balance_hosts": "random", "client_encoding": "UTF8"}
        if wait.starts_tls_directly:
            options["sslnegotiation"] = "direct"
        connection: extensions.connection = psycopg2.connect(url, **options)
        return connection

    def _read_url_until(self, deadline: float) -> str:
        # In another thread, because boto3 limits the steps of a call, but not the whole.
        try:
            url = self._reader.submit(self._read_url)
            self._url = url.result(max(0, deadline - time.monotonic()))
        except TimeoutError:
            raise unavailable("timed out", misconfigured=False) from None
        self._starts_tls_directly = may_start_tls_directly(self._url)
        return self._url


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Limit what the `with` block waits for connections that no `Database` has opened.

    libpq's own `connect_timeout` has no effect in a process with a wait callback.

    Raises:
        DeadlineExceeded: the time is over.
    """
    extensions.set_wait_callback(_wait_until_deadline)
    token = _wait.set(_Wait(deadline=time.monotonic() + seconds))
    try:
        yield
    finally:
        _wait.reset(token)


def _wait_until_deadline(connection: extensions.connection) -> None:
    """Wait until a connection's socket is ready (psycopg2's wait callback)."""
    wait = _wait.get()
    while (needed := connection.poll()) != extensions.POLL_OK:
        wait.state = connection.info.status
        deadline, reason = wait.deadline, "timed out"
        if wait.state == CONNECTION_STARTED and wait.handshake_deadline < deadline:
            deadline, reason = wait.handshake_deadline, "TCP connect timed out"
        elif wait.state == CONNECTION_SSL_STARTUP and wait.starts_tls_directly:
            deadline, reason = wait.handshake_deadline, "TLS handshake timed out"
        seconds = max(0, deadline - time.monotonic())
        poller = select.poll()
        readiness = select.POLLIN if needed == extensions.POLL_READ else select.POLLOUT
        poller.register(connection.fileno(), readiness)
        if not poller.poll(None if seconds == math.inf else math.ceil(seconds * 1000)):
            raise errors.DeadlineExceeded(connection, reason)
