"""What a migration makes right, what it only reports, and what it leaves alone."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import pytest
from alembic.util import CommandError
from psycopg2.extensions import parse_dsn

from dev.lab.proxy import TrafficCounter
from dev.lab.sql import run_sql
from migrations.__main__ import migrate
from tests.support.http.apps import ready_status
from tests.support.postgres.clusters import of_port
from tests.support.postgres.damages import HARMLESS, LOST, REPAIRED, REPORTED, Change
from tests.support.postgres.revisions import NEWEST, NEXT, NOTHING_TO_DO, Revisions

ROWS = [
    "INSERT INTO users (id) VALUES ('alice')",
    "INSERT INTO todos (user_id, title, idempotency_key) VALUES ('alice', 'Buy milk', 'a key')",
]


def _titles(uri: str) -> list[tuple[Any, ...]]:
    return run_sql(uri, "SELECT user_id, title FROM public.todos")


def _statements(refusal: CommandError) -> list[str]:
    """Return the SQL of the message."""
    _, _, hint = str(refusal).partition(" As a role that may, run: ")
    sql, _, _ = hint.partition("; and then migrate again.")
    return sql.split("; ")


@pytest.mark.parametrize(("statements", "reason"), REPAIRED, ids=str)
def test_a_migration_repairs_what_isolates_users_and_names_it(
    change: Change, statements: list[str], reason: str
) -> None:
    uri = change([*ROWS, *statements])

    said = migrate(uri)

    assert said.startswith(f"{NOTHING_TO_DO} Repaired: ")
    assert reason in said
    assert ready_status(uri) == 200
    assert migrate(uri) == NOTHING_TO_DO
    assert _titles(uri) == [("alice", "Buy milk")]


def test_a_migration_repairs_and_names_what_its_own_revisions_have_opened(
    new_migrated: Callable[[], str], revisions: Revisions
) -> None:
    uri = new_migrated()
    revisions.add(NEXT, NEWEST, "ALTER TABLE todos DISABLE ROW LEVEL SECURITY")

    assert migrate(uri) == (
        f"The database is migrated from revision {NEWEST} to {NEXT}. "
        "Repaired: row-level security is off on todos."
    )

    assert migrate(uri) == f"Nothing to do: the database is at revision {NEXT}."


SEEN = [damage for damage in REPORTED if "search path" not in damage[1]]


@pytest.mark.parametrize(("statements", "reason"), SEEN, ids=str)
def test_what_a_migration_must_not_repair_is_reported_with_the_sql_which_loses_no_row(
    change: Change, statements: list[str], reason: str
) -> None:
    uri = change([*ROWS, *statements])

    with pytest.raises(CommandError) as refused:
        migrate(uri)
    with closing(psycopg2.connect(uri)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for statement in _statements(refused.value):
            cursor.execute(statement)

    assert reason in str(refused.value)
    assert ready_status(uri) == 200
    assert migrate(uri) == NOTHING_TO_DO
    assert _titles(uri) == [("alice", "Buy milk")]


def test_a_column_of_another_table_that_everybody_may_read_is_found_by_a_migration_only(
    change: Change,
) -> None:
    """To look at the rights on each column would make `/ready` slow."""
    uri = change(
        ["CREATE TABLE remarks (user_id text)", "GRANT SELECT (user_id) ON remarks TO PUBLIC"]
    )

    assert ready_status(uri) == 200
    reason = r"todo_app may SELECT \(user_id\) on public\.remarks, without a policy for own rows"
    with pytest.raises(CommandError, match=reason):
        migrate(uri)


@pytest.mark.parametrize(("statements", "reason"), LOST, ids=str)
def test_what_no_statement_makes_right_is_reported_without_one(
    change: Change, statements: list[str], reason: str
) -> None:
    uri = change([*ROWS, *statements])

    with pytest.raises(CommandError) as refused:
        migrate(uri)

    assert str(refused.value) == (
        f"The database is at revision {NEWEST}, but not as the models describe it: {reason}. "
        "What is missing comes from a revision, which `make revision NAME=…` writes, "
        "or from a backup."
    )


@pytest.mark.parametrize("statements", HARMLESS[:-2] + HARMLESS[-1:], ids=str)
def test_a_migration_leaves_alone_what_harms_nobody(change: Change, statements: list[str]) -> None:
    assert migrate(change(statements)) == NOTHING_TO_DO


# --- locks ----------------------------------------------------------------------------------------


@contextmanager
def _transaction(uri: str, statement: str) -> Iterator[None]:
    """Execute a statement, and keep its transaction open."""
    with closing(psycopg2.connect(uri)) as connection:
        connection.cursor().execute(statement)
        yield


def test_where_nothing_differs_a_migration_writes_nothing_and_waits_for_no_writer(
    change: Change,
) -> None:
    uri = change([])
    counter = TrafficCounter(int(parse_dsn(uri)["port"]))
    counted = of_port(uri, counter.port)

    # This lock lets nobody else do more than read.
    lock = "LOCK todos, users, alembic_version IN EXCLUSIVE MODE"
    with _transaction(uri, lock), counter.watch() as traffic:
        assert migrate(counted) == NOTHING_TO_DO

    assert "SET lock_timeout = 3000" in traffic.statements
    verbs = {statement.split()[0].upper() for statement in traffic.statements}
    assert verbs == {"BEGIN", "SET", "SHOW", "SELECT", "COMMIT", "ROLLBACK"}


def test_a_repair_behind_an_open_transaction_lets_others_read_and_then_fails_with_a_reason(
    change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migrations.locks.LOCK_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr("migrations.locks.RETRY_PAUSES", (0.1, 0.1))
    uri = change(["ALTER TABLE todos DISABLE ROW LEVEL SECURITY"])
    waiting = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted"

    with _transaction(uri, "SELECT FROM todos"), ThreadPoolExecutor(1) as executor:
        migration = executor.submit(migrate, uri)
        while run_sql(uri, waiting) == [(0,)] and not migration.done():
            pass
        # Only the end of the migration's attempt can let this through.
        assert run_sql(uri, "SET statement_timeout = '20s'", "SELECT count(*) FROM todos") == [(0,)]
        with pytest.raises(CommandError) as failed:
            migration.result()

    assert str(failed.value) == (
        "row-level security is off on todos, and this was not repaired: 3 times, other "
        "transactions were in its way, at last with: canceling statement due to lock timeout. "
        "pg_stat_activity shows them."
    )
    assert migrate(uri) == f"{NOTHING_TO_DO} Repaired: row-level security is off on todos."


def test_a_migration_that_may_not_even_look_at_a_table_fails_with_a_reason(
    change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migrations.locks.LOCK_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr("migrations.locks.RETRY_PAUSES", (0.1,))
    uri = change([])

    with (
        _transaction(uri, "LOCK todos IN ACCESS EXCLUSIVE MODE"),
        pytest.raises(CommandError) as failed,
    ):
        migrate(uri)

    assert str(failed.value).startswith("The isolation between users was not checked: 2 times, ")


def test_a_connection_that_is_lost_in_a_repair_is_reported(change: Change) -> None:
    uri = change(
        [
            "ALTER TABLE todos DISABLE ROW LEVEL SECURITY",
            "CREATE FUNCTION lose() RETURNS event_trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); END $$",
            "CREATE EVENT TRIGGER lose ON ddl_command_start EXECUTE FUNCTION lose()",
        ]
    )

    with pytest.raises(CommandError) as lost:
        migrate(uri)

    assert str(lost.value) == (
        "The connection was lost while the isolation was repaired. Run this again."
    )
    run_sql(uri, "DROP EVENT TRIGGER lose")
    assert migrate(uri) == f"{NOTHING_TO_DO} Repaired: row-level security is off on todos."


# --- other revisions ------------------------------------------------------------------------------


def test_of_a_database_that_is_newer_than_the_code_a_migration_only_reports(change: Change) -> None:
    uri = change(
        [
            "UPDATE alembic_version SET version_num = '9999'",
            "ALTER TABLE todos DISABLE ROW LEVEL SECURITY",
        ]
    )

    with pytest.raises(CommandError) as refused:
        migrate(uri)

    assert str(refused.value) == (
        "The database is at revision 9999, newer than this code, but not as the models describe "
        "it: row-level security is off on todos. As a role that may, run: "
        "ALTER TABLE public.todos ENABLE ROW LEVEL SECURITY; and then migrate again."
    )
    run_sql(uri, *_statements(refused.value))
    assert migrate(uri) == (
        f"Nothing to do: the database is at revision 9999, and the newest of this code is {NEWEST}."
    )


def test_the_isolation_is_right_for_what_a_downgrade_leaves(change: Change) -> None:
    uri = change(["ALTER TABLE users DISABLE ROW LEVEL SECURITY", *ROWS])

    said = migrate(uri, "0001")

    assert said == (
        f"The database is migrated from revision {NEWEST} to 0001. "
        "Repaired: row-level security is off on users."
    )
    of_others = ["SET ROLE todo_app", "SET app.user_id = 'bob'", "SELECT title FROM todos"]
    assert run_sql(uri, *of_others) == []
    assert migrate(uri, "0001") == "Nothing to do: the database is at revision 0001."
    assert migrate(uri) == f"The database is migrated from revision 0001 to {NEWEST}."
    assert ready_status(uri) == 200
