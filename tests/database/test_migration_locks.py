"""Migrations of a database in use: what they wait for, and who waits for them."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from textwrap import dedent
from typing import Any

import psycopg2
import pytest
from alembic.util import CommandError

import migrations
from dev.lab.sql import run_sql
from migrations.__main__ import ADVISORY_LOCK, migrate
from tests.support.postgres.revisions import NEWEST, NEXT, SECOND, Revisions, revision_of

WAITING = (
    "SELECT pid FROM pg_stat_activity "
    "WHERE datname = current_database() AND query LIKE %s AND pid <> pg_backend_pid()"
)


@pytest.fixture
def start_migration(uri: str) -> Iterator[Callable[[], Future[str]]]:
    """Start a migration in another thread.

    The fixture waits for its end after the test has closed its connections.
    """
    with ThreadPoolExecutor(1) as executor:
        yield lambda: executor.submit(migrate, uri)


@contextmanager
def _transaction(
    uri: str, statement: str, *parameters: object
) -> Iterator[psycopg2.extensions.connection]:
    """Execute a statement, and keep its transaction open."""
    with closing(psycopg2.connect(uri)) as connection:
        connection.cursor().execute(statement, parameters or None)
        yield connection


def _wait_for(
    uri: str, migration: Future[str], statement: str, *parameters: object
) -> list[tuple[Any, ...]]:
    """Run a query again and again until it returns rows, as long as the migration runs."""
    with closing(psycopg2.connect(uri)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        while not migration.done():
            cursor.execute(statement, parameters)
            if rows := cursor.fetchall():
                return rows
            time.sleep(0.01)
    pytest.fail(f"the migration has ended: {migration.result()}")


def test_a_migration_behind_an_open_transaction_lets_others_read_and_then_fails_with_a_reason(
    uri: str, start_migration: Callable[[], Future[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migrations.locks.LOCK_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr("migrations.locks.RETRY_PAUSES", (0.1, 0.1))
    migrate(uri, "0002")
    with _transaction(uri, "SELECT FROM todos"):
        migration = start_migration()
        _wait_for(
            uri,
            migration,
            "SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted",
        )
        start = time.monotonic()
        # As long as the reader's transaction is open, only the end of the migration's attempt can
        # let this through.
        assert run_sql(uri, "SET statement_timeout = '20s'", "SELECT count(*) FROM todos") == [(0,)]
        print(f"a SELECT behind the migration took {time.monotonic() - start:.2f} s")
        with pytest.raises(CommandError) as failed:
            migration.result()
    assert str(failed.value) == (
        "The migration from revision 0002 to 0003 failed, and the database is at revision 0002: "
        "3 times, other transactions were in its way, "
        "at last with: canceling statement due to lock timeout. pg_stat_activity shows them."
    )
    assert revision_of(uri) == "0002"
    assert migrate(uri) == f"The database is migrated from revision 0002 to {NEWEST}."


@pytest.mark.parametrize("condition", ["lock_not_available", "deadlock_detected"])
def test_a_revision_that_does_not_get_its_lock_is_tried_again(
    uri: str, revisions: Revisions, monkeypatch: pytest.MonkeyPatch, condition: str
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("migrations.locks.time.sleep", pauses.append)
    # A sequence keeps its value when a transaction is rolled back.
    run_sql(uri, "CREATE SEQUENCE attempts")
    fail_twice = f"DO $$ BEGIN IF nextval('attempts') < 3 THEN RAISE {condition}; END IF; END $$"
    revisions.add(NEXT, NEWEST, "CREATE TABLE tags ()", fail_twice)
    migrate(uri)
    assert revision_of(uri) == NEXT
    assert run_sql(uri, "SELECT last_value FROM attempts") == [(3,)]
    assert pauses == [1, 2]


def test_a_migration_waits_for_another_without_blocking_its_concurrent_index(
    uri: str, start_migration: Callable[[], Future[str]]
) -> None:
    run_sql(uri, "CREATE TABLE others (id int)")
    with _transaction(uri, "SELECT pg_advisory_lock(%s)", ADVISORY_LOCK) as other:
        other.commit()
        migration = start_migration()
        _wait_for(uri, migration, WAITING, "%advisory%")
        other.autocommit = True
        with other.cursor() as cursor:
            cursor.execute("SET statement_timeout = '20s'")
            cursor.execute("CREATE INDEX CONCURRENTLY ON others (id)")
            cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            assert cursor.fetchone() == (1,)
            cursor.execute("SELECT pg_advisory_unlock(%s)", (ADVISORY_LOCK,))
        assert migration.result() == f"The database is migrated from revision base to {NEWEST}."


def test_a_migration_does_not_wait_for_another_without_a_limit(
    uri: str, start_migration: Callable[[], Future[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migrations.__main__.ADVISORY_LOCK_SECONDS", 0.2)
    with _transaction(uri, "SELECT pg_advisory_lock(%s)", ADVISORY_LOCK) as other:
        with pytest.raises(CommandError) as failed:
            start_migration().result(20)
        holder = f"pid {other.info.backend_pid} of the role postgres"
    assert str(failed.value) == (
        "Another migration of this database has not ended for 0.2 s, and nothing was changed by "
        f"this one: run it again after that one. The lock is held by {holder}. If it should not, "
        "lock that role (ALTER ROLE … NOLOGIN) and end the session: SELECT "
        "pg_terminate_backend(pid)."
    )
    assert run_sql(uri, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]


def test_the_documented_concurrent_index_is_built_again_after_an_interrupted_attempt(
    uri: str,
    start_migration: Callable[[], Future[str]],
    revisions: Revisions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("migrations.locks.LOCK_TIMEOUT_SECONDS", 0.2)
    example = str(migrations.__doc__).split("\n\n    ")[1].split("\n\n")[0]
    revisions.add(NEXT, NEWEST, "ALTER TABLE todos ADD IF NOT EXISTS due_at timestamptz")
    migrate(uri)
    revisions.write(SECOND, SECOND, NEXT, dedent(f"    {example}"))
    create_user = "INSERT INTO users (id) VALUES ('owner')"
    write = "INSERT INTO todos (user_id, title) VALUES ('owner', 'x')"
    run_sql(uri, create_user)
    is_valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('todos_by_due_at')"
    with _transaction(uri, write):
        migration = start_migration()
        is_long = "clock_timestamp() - query_start > interval '0.5 s'"
        building = f"{WAITING} AND wait_event_type = 'Lock' AND {is_long}"
        ((pid,),) = _wait_for(uri, migration, building, "CREATE INDEX CONCURRENTLY%")
        run_sql(uri, "SET statement_timeout = '20s'", write, f"SELECT pg_cancel_backend({pid})")
        failure = f"from revision {NEXT} to {SECOND} failed, and the database is at revision {NEXT}"
        with pytest.raises(CommandError, match=failure):
            migration.result()
    assert run_sql(uri, is_valid) == [(False,)]
    assert migrate(uri) == f"The database is migrated from revision {NEXT} to {SECOND}."
    assert run_sql(uri, is_valid) == [(True,)]
