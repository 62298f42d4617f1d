"""PostgreSQL access: one connection per request, a deadline, typed failures.

Neon's pooled endpoint is PgBouncer in transaction mode, so it keeps the connections and we do not
(NullPool). With autocommit, the session settings and the statement are one message, and so one
transaction and one round trip.
"""

import logging
import math
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2 import extensions
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool
from sqlmodel import Session

from todo_api.database import errors
from todo_api.database.deadline import (
    CONNECTION_SSL_STARTUP,
    Wait,
    current_wait,
    wait_until_deadline,
)
from todo_api.database.isolation import SESSION_SETUP_SQL
from todo_api.database.parameter_store import credentials_unavailable
from todo_api.database.refusals import Refusal, connection_message, is_login_refused, refusal_of
from todo_api.database.url import neon_options

# The first and the longest pause between attempts to connect, before jitter.
BACKOFF_SECONDS = (0.05, 1.0)

# How many refusals of a server that mean nothing to us end the attempts to connect.
UNKNOWN_REFUSALS_MAX = 3

# How long direct TLS stays off after its handshake has failed.
DIRECT_TLS_OFF_SECONDS = 300

# SystemRandom: the copies of a SnapStart snapshot would share the state of Python's own generator,
# and so its pauses.
_random = random.SystemRandom()

logger = logging.getLogger("todo_api")


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
        self._executor = ThreadPoolExecutor()
        self._url = ""
        self._direct_tls_off_until: float = 0  # of time.monotonic()
        self._engine = self._create_engine()

    @contextmanager
    def session(
        self,
        *,
        user_id: str,
        timeout_seconds: float,
    ) -> Iterator[Session]:
        """Open a session for one request of a user.

        `Session.info["wait"]` says what the request has waited for.

        Its statements raise `DatabaseUnavailable` if the database does not do them in time.
        """
        wait = Wait(deadline=time.monotonic() + timeout_seconds)
        current_wait.set(wait)
        try:
            with Session(self._engine.execution_options(user_id=user_id)) as session:
                session.info["wait"] = wait
                yield session
        finally:
            wait.ended = time.monotonic()
            current_wait.set(Wait())

    def _create_engine(self) -> Engine:
        extensions.set_wait_callback(wait_until_deadline)
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
        event.listen(engine, "handle_error", errors.translate_unavailable)
        event.listen(engine, "handle_error", errors.translate_constraint_violation)
        return engine

    def _add_session_setup(
        self,
        connection: Connection,
        _cursor: object,
        statement: str,
        parameters: dict[str, Any],
        *_: object,
    ) -> tuple[str, dict[str, Any]]:
        wait = current_wait.get()
        wait.statement_started = time.monotonic()
        # The server gets 90 % of the remaining time, so that its own timeout error still arrives.
        milliseconds = math.ceil(max(0.001, wait.deadline - wait.statement_started) * 900)
        user_id = connection.get_execution_options()["user_id"]
        setup = {"session.user_id": user_id, "session.timeout": str(milliseconds)}
        return SESSION_SETUP_SQL + statement, {**parameters, **setup}

    def _connect(self) -> extensions.connection:
        """Connect, retrying until the deadline. Nothing has been sent yet, so a retry is safe."""
        wait = current_wait.get()
        wait.connect_started = time.monotonic()
        pause = BACKOFF_SECONDS[0]
        last_reason = ""
        unknown_refusals = 0
        while True:
            url = self._url or self._read_url_until(wait.deadline)
            try:
                return self._attempt(url, wait)
            except psycopg2.OperationalError as error:
                if isinstance(error, errors.DeadlineExceeded):
                    error.connection.close()  # or it would stay open until it is garbage-collected
                    # A timeout says less than an earlier error, so report that one.
                    error.reason = last_reason or error.reason
                last_reason = errors.reason_of(error)
                message = connection_message(error)
                if is_login_refused(message):
                    if self._url == url:  # else another thread has read it again
                        self._read_url_until(wait.deadline)
                    if self._url != url:
                        continue
                refusal = refusal_of(message)
                if refusal is Refusal.UNKNOWN:
                    unknown_refusals += 1
                if refusal is Refusal.MISCONFIGURED or unknown_refusals == UNKNOWN_REFUSALS_MAX:
                    raise
                seconds = _random.uniform(0, pause)  # full jitter
                if time.monotonic() + seconds + wait.lookup_seconds >= wait.deadline:
                    raise
            time.sleep(seconds)
            pause = min(pause * 2, BACKOFF_SECONDS[1])

    def _attempt(self, url: str, wait: Wait) -> extensions.connection:
        # "random": a retry may reach another of the host's addresses. UTF8: whatever the role or
        # database says.
        options: dict[str, Any] = {"load_balance_hosts": "random", "client_encoding": "UTF8"}
        options |= neon_options(url)
        if time.monotonic() < self._direct_tls_off_until:
            options.pop("sslnegotiation", None)
        direct_tls = "sslnegotiation" in options
        wait.start_attempt(direct_tls=direct_tls)
        try:
            connection: extensions.connection = psycopg2.connect(url, **options)
        except psycopg2.OperationalError:
            wait.end_lookup()
            if direct_tls and wait.state == CONNECTION_SSL_STARTUP:
                self._direct_tls_off_until = time.monotonic() + DIRECT_TLS_OFF_SECONDS
                logger.warning("direct TLS failed, falling back to SSLRequest for some minutes")
            raise
        return connection

    def _read_url_until(self, deadline: float) -> str:
        # In another thread, because boto3 limits the steps of a call, but not the whole.
        try:
            reading = self._executor.submit(self._read_url)
            self._url = reading.result(max(0, deadline - time.monotonic()))
        except TimeoutError:
            raise credentials_unavailable("timed out", misconfigured=False) from None
        return self._url
