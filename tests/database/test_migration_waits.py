"""Every wait of a migration ends, also behind a proxy or a pooler that its URL does not name."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg2
import pytest
from alembic.util import CommandError
from psycopg2 import extensions
from psycopg2.extensions import parse_dsn

from dev.lab.pgbouncer import pgbouncer
from dev.lab.proxy import FaultyProxy, Proxy, pump
from dev.lab.sql import run_sql
from dev.postgres import Postgres
from migrations import __main__ as program
from migrations.__main__ import migrate
from migrations.isolation import refuse_strangers
from tests.support.postgres.clusters import of_port
from tests.support.postgres.revisions import NEWEST, NEXT, Revisions, revision_of

pytestmark = pytest.mark.slow

SLEEPING = (
    "SELECT pid FROM pg_stat_activity "
    "WHERE query LIKE '%pg_sleep(1000)%' AND pid <> pg_backend_pid()"
)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask soon whether the server works."""
    monkeypatch.setattr("migrations.owner.SILENCE_SECONDS", 0.5)
    monkeypatch.setattr("migrations.owner.CONNECT_SECONDS", 2)


@pytest.fixture(autouse=True)
def new_process() -> Iterator[None]:
    """psycopg2 as in a new process, in which no `Database` has set how it waits."""
    callback = extensions.get_wait_callback()
    extensions.set_wait_callback(None)
    yield
    extensions.set_wait_callback(callback)


def wait_until(is_true: Callable[[], Any]) -> Any:
    """Wait for a result that is true, and return it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if result := is_true():
            return result
        time.sleep(0.02)
    pytest.fail("it did not happen")


@pytest.mark.parametrize(
    ("fault", "what", "seconds"),
    [("silent", "an attempt to connect", 0.5), ("frozen before the query", "a statement", 3)],
)
def test_connecting_to_a_server_that_does_not_answer_ends(
    uri: str, fault: str, what: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migrations.owner.CONNECT_SECONDS", seconds)
    proxy = FaultyProxy(int(parse_dsn(uri)["port"]))
    proxy.fault = fault
    with pytest.raises(CommandError) as failed:
        migrate(of_port(uri, proxy.port))
    assert str(failed.value) == (
        "The migration failed, and no revision was applied: "
        f"127.0.0.1 has not answered {what} for {seconds} s"
    )


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """Stop processes inside the `with` block."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_migration_over_a_server_that_freezes_ends_with_what_is_known(
    revisions: Revisions,
) -> None:
    with (
        TemporaryDirectory(prefix="todo-api-tests-") as folder,
        Postgres(Path(folder), "fsync=off") as server,
        ThreadPoolExecutor(1) as executor,
    ):
        migrate(server.uri)
        revisions.add(NEXT, NEWEST, "SELECT pg_sleep(1000)")
        migration = executor.submit(migrate, server.uri)
        ((backend,),) = wait_until(lambda: run_sql(server.uri, SLEEPING))
        postmaster = int(Path(folder, "data/postmaster.pid").read_text().split()[0])
        with frozen(postmaster, backend), pytest.raises(CommandError) as failed:
            migration.result(30)
    assert str(failed.value) == (
        f"The migration from revision {NEWEST} to {NEXT} failed: the connection was lost, so the "
        "database is at one of the two. Run this again. "
        "127.0.0.1 has not answered for more than 0.5 s."
    )


def test_a_statement_of_a_revision_may_take_as_long_as_it_needs(
    uri: str, revisions: Revisions
) -> None:
    revisions.add(NEXT, NEWEST, "SELECT pg_sleep(3)")
    assert migrate(uri) == f"The database is migrated from revision base to {NEXT}."


class ForgetfulProxy(Proxy):
    """Forwards connections until it forgets those that are open."""

    forgotten = 0

    async def link(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Forward one connection, until it is forgotten."""
        generation = self.forgotten
        server, to_server = await asyncio.open_connection("127.0.0.1", self.upstream)

        async def to_the_server() -> None:
            while data := await client.read(65536):
                if self.forgotten == generation:
                    to_server.write(data)
            to_server.close()

        await asyncio.gather(to_the_server(), pump(server, to_client, lambda _: None))


def test_a_migration_whose_statement_was_lost_on_the_way_ends(
    uri: str, revisions: Revisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = ForgetfulProxy(int(parse_dsn(uri)["port"]))
    migrate(uri)
    revisions.add(NEXT, NEWEST, "CREATE TABLE tags ()")
    step = program._step

    def forgotten_step(*arguments: Any) -> None:
        proxy.forgotten += 1
        step(*arguments)

    monkeypatch.setattr(program, "_step", forgotten_step)
    with pytest.raises(CommandError, match=r"127\.0\.0\.1 has not answered for more than 0\.5 s"):
        migrate(of_port(uri, proxy.port))
    assert revision_of(uri) == NEWEST


# --- a transaction pooler -------------------------------------------------------------------------

HELD = "SELECT pid FROM pg_locks WHERE locktype = 'advisory'"


@pytest.mark.pgbouncer
def test_a_migration_through_a_pooler_releases_its_lock(uri: str) -> None:
    with pgbouncer(uri) as pooler:
        migrate(pooler.uri())
        assert run_sql(uri, HELD) == []


@pytest.mark.pgbouncer
def test_a_migration_whose_session_a_pooler_has_changed_says_so_and_names_the_lock(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pgbouncer(uri) as pooler, closing(psycopg2.connect(pooler.uri())) as other:

        def take_the_session(*arguments: Any) -> None:
            other.cursor().execute("SELECT 1")  # in a transaction, which stays open
            refuse_strangers(*arguments)

        monkeypatch.setattr(program, "refuse_strangers", take_the_session)
        with pytest.raises(
            CommandError, match="A transaction pooler has changed the session"
        ) as failed:
            migrate(pooler.uri())
        other.rollback()
        ((pid,),) = run_sql(uri, HELD)
        statement = str(failed.value).split("run ")[1].split(",")[0]
        assert statement == f"SELECT pg_terminate_backend({pid})"
        run_sql(uri, statement)
        wait_until(lambda: not run_sql(uri, HELD))
