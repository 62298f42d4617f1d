"""The owner's connection, to the direct endpoint: every wait ends, and a lock names its holder."""

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2 import extensions

from todo_api.database.deadline import time_limit
from todo_api.database.errors import DeadlineExceeded
from todo_api.database.refusals import connection_message
from todo_api.database.url import neon_options

CONNECT_SECONDS = 20
"""How long an attempt to connect may take: a suspended compute wakes up meanwhile."""
SILENCE_SECONDS = 15
"""How long a statement may take before another connection asks whether the server still works."""

HOLDER_SQL = """
SELECT pid, usename FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint << 32) | objid::bigint = %s
"""
# A session that has waited for its client that long while the client waits for it has lost a
# statement or its answer on the way.
WORKS_SQL = """
SELECT FROM pg_stat_activity
WHERE pid = %s AND (state = 'active' OR state_change > now() - %s * interval '1 second')
"""


class NoAnswer(psycopg2.OperationalError):
    """The server has not answered in time; the message names it."""


class LockTimeout(Exception):
    """Another session has not released the lock; the message names it."""


class SessionChanged(Exception):
    """The lock was taken in one session and could not be released in another."""


SYSTEM_PATH_SQL = "SET LOCAL search_path = pg_catalog"
"""Before queries of the owner: on this path only superusers can have put anything. LOCAL, because a
pooler may give the session to another client."""


def connect(url: str) -> extensions.connection:
    """Connect, starting TLS directly where requests do, or else asking the server for it.

    Args:
        url: of the direct endpoint.

    Raises:
        NoAnswer: it took longer than `CONNECT_SECONDS`.
        psycopg2.OperationalError: it failed.
    """
    options = neon_options(url)
    if options.pop("sslnegotiation", None):
        with suppress(psycopg2.OperationalError):
            return _attempt(url, **options, sslnegotiation="direct")
    return _attempt(url, **options)


def connect_on_system_path(url: str) -> extensions.connection:
    """Connect for many statements, all of them on the path of `SYSTEM_PATH_SQL`."""
    connection = connect(url)
    with answer_within(CONNECT_SECONDS, url, "a statement"), connection.cursor() as cursor:
        cursor.execute("SET search_path = pg_catalog")
        connection.commit()
    return connection


def _attempt(url: str, **options: Any) -> extensions.connection:
    with answer_within(CONNECT_SECONDS, url, "an attempt to connect"):
        try:
            connection: extensions.connection = psycopg2.connect(url, **options)
        except DeadlineExceeded:
            raise
        except psycopg2.OperationalError as error:
            # libpq repeats values of the URL.
            raise psycopg2.OperationalError(connection_message(error)) from None
        return connection


def direct_url(url: str) -> str:
    """Return the URL of Neon's direct endpoint, whose name is the pooled one's without `-pooler`.

    It stands in the host, and may stand in the options too, where the proxy wants the same one.
    Migrations need a session of their own, which the pooler does not give
    (https://neon.com/docs/connect/connection-pooling).
    """
    parts = extensions.parse_dsn(url)
    parts["host"] = re.sub(r"(^|,)([^.,]+)-pooler(?=[.,]|$)", r"\1\2", parts["host"])
    if "options" in parts:
        endpoint = r"(?<!\S)((?:endpoint|project)=\S+)-pooler(?!\S)"
        parts["options"] = re.sub(endpoint, r"\1", parts["options"])
    return str(extensions.make_dsn(**parts))


@contextmanager
def answer_within(seconds: float, url: str, what: str) -> Iterator[None]:
    """Limit the time in which a server answers what is sent in the `with` block.

    Raises:
        NoAnswer: the time is over, and the connection is closed.
    """
    try:
        with time_limit(seconds):
            yield
    except DeadlineExceeded as error:
        error.connection.close()
        raise NoAnswer(f"{_host(url)} has not answered {what} for {seconds} s") from None


def _host(url: str) -> str:
    return str(extensions.parse_dsn(url)["host"])


def wait_for_lock(connection: extensions.connection, sql: str, key: int, seconds: float) -> None:
    """Wait for an advisory lock.

    It is polled: a transaction that waits for it would stop another migration from building an
    index concurrently.

    Args:
        connection: not in autocommit mode. Its transaction stays open.
        sql: the query that tries to take the lock.
        key: the lock.
        seconds: how long to wait.

    Raises:
        LockTimeout: another session holds the lock.
    """
    deadline = time.monotonic() + seconds
    while True:
        with answer_within(CONNECT_SECONDS, connection.dsn, "a statement"):
            connection.rollback()
            with connection.cursor() as cursor:
                cursor.execute(SYSTEM_PATH_SQL)
                cursor.execute(sql, [key])
                if cursor.fetchone() == (True,):
                    return
                cursor.execute(HOLDER_SQL, [key])
                holders = [f"pid {pid} of the role {role}" for pid, role in cursor.fetchall()]
        if time.monotonic() >= deadline:
            break
        time.sleep(0.1)
    raise LockTimeout(
        f"The lock is held by {' and '.join(holders) or 'a session that has ended since'}. If it "
        "should not, lock that role (ALTER ROLE … NOLOGIN) and end the session: SELECT "
        "pg_terminate_backend(pid)."
    )


@contextmanager
def session_lock(connection: extensions.connection, key: int, seconds: float) -> Iterator[None]:
    """Hold an advisory lock for the session, through any number of transactions.

    Raises:
        LockTimeout: another session holds it.
        SessionChanged: the connection leads through a transaction pooler.
    """
    wait_for_lock(connection, "SELECT pg_try_advisory_lock(%s)", key, seconds)
    pid = _value(connection, "SELECT pg_backend_pid()")
    failure = ""
    try:
        yield
    except Exception as error:
        failure = f"{error} "
        raise
    finally:
        if not _is_released(connection, key):
            raise SessionChanged(
                f"{failure}A transaction pooler has changed the session meanwhile, so another "
                "process could do the same at once, and the lock is still held. As the same role, "
                f"run SELECT pg_terminate_backend({pid}), and then this again with a connection "
                "string that does not lead through a pooler."
            )


def _is_released(connection: extensions.connection, key: int) -> bool:
    try:
        return bool(_value(connection, "SELECT pg_advisory_unlock(%s)", key))
    except (psycopg2.OperationalError, psycopg2.InterfaceError):
        return True  # with the end of its session


def _value(connection: extensions.connection, sql: str, *parameters: object) -> Any:
    """Return the one value of a query in a transaction of its own."""
    connection.rollback()
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        ((value,),) = cursor.fetchall()
    connection.commit()
    return value


@dataclass
class Watch:
    """What watching a server has found."""

    silence: str = ""
    """A sentence, after the server has stopped answering."""


@contextmanager
def watched(connection: extensions.connection, url: str) -> Iterator[Watch]:
    """End the connection when its server has stopped answering.

    A statement may take as long as it needs. So the time of each is not limited; while one runs,
    another connection asks the server from time to time whether it does.

    Args:
        connection: the one to end.
        url: its URL.
    """
    watch = Watch()
    done = threading.Event()
    with answer_within(CONNECT_SECONDS, url, "a statement"):
        pid = _value(connection, "SELECT pg_backend_pid()")

    def ask_regularly() -> None:
        while not done.wait(SILENCE_SECONDS):
            if _is_waiting(connection) and not _works(url, pid) and _is_waiting(connection):
                watch.silence = f"{_host(url)} has not answered for more than {SILENCE_SECONDS} s."
                with socket.socket(fileno=os.dup(connection.fileno())) as end:
                    end.shutdown(socket.SHUT_RDWR)
                return

    thread = threading.Thread(target=ask_regularly, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        done.set()


def _is_waiting(connection: extensions.connection) -> bool:
    return connection.info.transaction_status == extensions.TRANSACTION_STATUS_ACTIVE


def _works(url: str, pid: int) -> bool:
    """Whether the server answers, and works for the session `pid`."""
    try:
        with closing(connect(url)) as connection, connection.cursor() as cursor:
            with answer_within(CONNECT_SECONDS, url, "a statement"):
                cursor.execute(SYSTEM_PATH_SQL)
                cursor.execute(WORKS_SQL, [pid, SILENCE_SECONDS])
            return cursor.rowcount > 0
    except NoAnswer:
        return False
    except psycopg2.OperationalError:
        return True  # to refuse a connection is an answer
