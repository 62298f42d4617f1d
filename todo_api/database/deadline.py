"""The deadline of a request's wait for PostgreSQL.

libpq's keepalives and timeouts do not end the wait for a frozen server. psycopg2 calls a function
for every wait, while it connects and while a statement runs, and that function ends it.
"""

import math
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from psycopg2 import extensions

from todo_api.database.errors import DeadlineExceeded

# TCP may use a quarter of the remaining time, because another address of the host may be alive, and
# so may direct TLS, because the server may not support it. The rest of an attempt may use all of
# it: a suspended Neon compute wakes up meanwhile.
HANDSHAKE_TIMEOUT_FRACTION = 0.25

# https://www.postgresql.org/docs/current/libpq-status.html
CONNECTION_OK = 0
CONNECTION_STARTED = 2
CONNECTION_SSL_STARTUP = 7

# What the log says when the time is over, by the state of the connection. PostgreSQL itself ends a
# statement before that, and its answer would have arrived.
TIMED_OUT = {
    CONNECTION_OK: (
        "no answer, not even PostgreSQL's own timeout: the pool is full, the server behind it is "
        "down, or the connection is dead"
    ),
    CONNECTION_STARTED: "TCP connect timed out",
    CONNECTION_SSL_STARTUP: "TLS handshake timed out",
}


@dataclass
class Wait:
    """One request's wait for the database.

    Times are those of `time.monotonic()`, and 0 before the event.
    """

    deadline: float = math.inf
    attempts: int = 0
    connect_started: float = 0
    statement_started: float = 0
    ended: float = 0
    # Of the current attempt to connect:
    attempt_started: float = 0
    handshake_deadline: float = math.inf
    handshake_states: tuple[int, ...] = ()
    lookup_seconds: float = 0  # of the host's name: libpq does not let us limit it
    state: int = CONNECTION_OK  # libpq's, when it last waited

    def start_attempt(self, *, direct_tls: bool) -> None:
        """Set the times of an attempt to connect."""
        now = time.monotonic()
        self.attempts += 1
        self.attempt_started = now
        self.handshake_deadline = now + (self.deadline - now) * HANDSHAKE_TIMEOUT_FRACTION
        self.handshake_states = (CONNECTION_STARTED,)
        if direct_tls:
            self.handshake_states += (CONNECTION_SSL_STARTUP,)
        self.lookup_seconds = 0
        self.state = CONNECTION_OK

    def end_lookup(self) -> None:
        """Note that the look-up of the host's name is over, if it has just ended."""
        if not self.lookup_seconds:
            self.lookup_seconds = time.monotonic() - self.attempt_started

    def summary(self) -> dict[str, float]:
        """Return what the request's log line says of it."""
        if not self.connect_started:
            return {}
        end = self.ended
        connect = (self.statement_started or end) - self.connect_started
        statement = end - (self.statement_started or end)
        return {
            "attempts": self.attempts,
            "connect_milliseconds": round(connect * 1000, 1),
            "statement_milliseconds": round(statement * 1000, 1),
        }


current_wait: ContextVar[Wait] = ContextVar("current_wait")
"""The wait of the current request."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Limit what the `with` block waits for connections that no `Database` has opened.

    libpq's own `connect_timeout` has no effect in a process with a wait callback.

    Raises:
        DeadlineExceeded: the time is over.
    """
    extensions.set_wait_callback(wait_until_deadline)
    token = current_wait.set(Wait(deadline=time.monotonic() + seconds))
    try:
        yield
    finally:
        current_wait.reset(token)


def wait_until_deadline(connection: extensions.connection) -> None:
    """Wait until a connection's socket is ready (psycopg2's wait callback)."""
    wait = current_wait.get(Wait())  # no limit outside of a session and of time_limit
    wait.end_lookup()
    while (needed := connection.poll()) != extensions.POLL_OK:
        wait.state = connection.info.status
        deadline = wait.deadline
        if wait.state in wait.handshake_states:
            deadline = min(deadline, wait.handshake_deadline)
        seconds = max(0, deadline - time.monotonic())
        poller = select.poll()
        readiness = select.POLLIN if needed == extensions.POLL_READ else select.POLLOUT
        poller.register(connection.fileno(), readiness)
        milliseconds = None if seconds == math.inf else math.ceil(seconds * 1000)
        if not poller.poll(milliseconds):
            reason = TIMED_OUT.get(wait.state, "login timed out")
            raise DeadlineExceeded(connection, reason)
