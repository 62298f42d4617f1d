"""Histories of several processes, during faults of the network and the server, are linearizable.

The checker itself is tried in test_linearizability_checker.py.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain
from multiprocessing.pool import Pool
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from psycopg2.extensions import parse_dsn

from dev.lab.pgbouncer import pgbouncer
from dev.lab.sql import run_sql
from dev.postgres import Postgres
from migrations.__main__ import migrate
from tests.support.aws import handler_processes
from tests.support.postgres.clusters import of_port
from tests.support.postgres.fault_scenario import UNKNOWN
from tests.support.postgres.linearizability import (
    Invocation,
    Operation,
    describe,
    is_linearizable,
    shortest,
)
from tests.support.postgres.workload import (
    FAULTS,
    MUTATIONS,
    PROCESSES,
    RandomlyFaultyProxy,
    perform_at_once,
    read,
    work,
)

pytestmark = pytest.mark.slow

SIGKILL = "SIGKILL of PostgreSQL"
# Of each round: the todos that all processes share, and the requests of each process.
TODOS = 3
REQUESTS = 25


class Database:
    """A PostgreSQL that may be killed, with a faulty proxy in front of it."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**9))
        print(f"SEED={self.seed}")
        self.folder = folder
        self.uri = uri
        self.parts = parse_dsn(uri)
        self.proxy = RandomlyFaultyProxy(int(self.parts["port"]), self.seed)
        self.proxied_uri = of_port(uri, self.proxy.port)

    def kill(self) -> None:
        """Kill the server, which its supervisor then restarts."""
        os.kill(int((self.folder / "data/postmaster.pid").read_text().split()[0]), signal.SIGKILL)


@pytest.fixture(scope="module")
def crashing() -> Iterator[Database]:
    with (
        TemporaryDirectory(prefix="todo-api-linearizability-") as folder,
        Postgres(Path(folder)) as postgres,
    ):
        migrate(postgres.uri)
        yield Database(Path(folder), postgres.uri)


@pytest.fixture(scope="module")
def pool(crashing: Database) -> Iterator[Pool]:
    with handler_processes.start(PROCESSES, crashing.proxied_uri) as pool:
        yield pool


def assert_linearizable_during_faults(
    crashing: Database, pool: Pool, rate: float, *, soak: bool
) -> None:
    """Work in rounds, each on new todos, until enough has happened. Check the history of each todo.

    Args:
        crashing: the database behind the API.
        pool: the processes.
        rate: the fraction of the proxy's connections that have a fault.
        soak: whether to go on for five minutes.
    """
    seconds, at_most = (300, 900) if soak else (5, 120)
    least = {"answered": 150, UNKNOWN: 10, SIGKILL: 2} | dict.fromkeys(FAULTS, 1)
    if soak:
        least = {name: number * 10 for name, number in least.items()}
    counts = Counter[str]()
    began = time.monotonic()
    crashing.proxy.injected = counts

    def is_enough() -> bool:
        counted = all(counts[name] >= number for name, number in least.items())
        return counted and time.monotonic() - began >= seconds

    while not is_enough():
        assert time.monotonic() - began < at_most, f"too little has happened: {counts}"
        keys = [uuid4().hex for _ in range(TODOS)]
        seed = f"{crashing.seed} {counts['rounds']}"
        crashing.proxy.rate = rate
        working = pool.map_async(
            work, [(process, seed, keys, REQUESTS) for process in range(PROCESSES)], chunksize=1
        )
        if counts["rounds"] % 2 == 0:
            working.wait(0.3)
            counts[SIGKILL] += not working.ready()
            crashing.kill()
        history = _flat(working.get(120))
        crashing.proxy.rate = 0
        ids = {
            key: {str(seen.id) for op in history if (seen := op.seen) and op.request.key == key}
            for key in keys
        }
        history += _flat(pool.map(read, ids.items(), chunksize=1))
        for key in keys:
            assert_linearizable(
                [operation for operation in history if operation.request.key == key],
                crashing,
            )
        counts.update(
            "answered" if operation.is_answered else operation.outcome for operation in history
        )
        counts.update(f"{operation.request.kind} {operation.outcome}" for operation in history)
        counts.update(operations=len(history), histories=TODOS, rounds=1)
    print(f"{time.monotonic() - began:.0f} s: {dict(sorted(counts.items()))}")


def _flat(histories: list[list[Operation]]) -> list[Operation]:
    return list(chain.from_iterable(histories))


def assert_linearizable(history: list[Operation], crashing: Database) -> None:
    if not is_linearizable(history):
        pytest.fail(
            f"SEED={crashing.seed}, not linearizable:\n{describe(shortest(history))}",
            pytrace=False,
        )


def test_concurrent_operations_during_faults_are_linearizable(
    crashing: Database, pool: Pool, *, soak: bool
) -> None:
    assert_linearizable_during_faults(crashing, pool, 0.15, soak=soak)


@pytest.mark.pgbouncer
def test_concurrent_operations_during_faults_behind_pgbouncer_are_linearizable(
    crashing: Database, *, soak: bool
) -> None:
    # A server connection has a fault or none, and the pooler keeps those without: so end them soon.
    with (
        pgbouncer(
            crashing.uri,
            upstream=crashing.proxy.port,
            default_pool_size=4,
            server_lifetime=1,
            server_connect_timeout=1,
            server_login_retry=0.1,
        ) as pooler,
        handler_processes.start(PROCESSES, pooler.uri()) as pool,
    ):
        assert_linearizable_during_faults(crashing, pool, 0.5, soak=soak)


# --- mutations ------------------------------------------------------------------------------------

KEY = "the key is not in the conflict target"


def play(pool: Pool, crashing: Database, workload: str, mutation: str) -> list[Operation]:
    """Run the workload made for a mutation: three rounds on one todo.

    With the mutation, or without (`""`).
    """
    crashing.proxy.rate = 0

    def send(fault: str, senders: int, request: Invocation) -> list[Operation]:
        crashing.proxy.fault = fault
        arguments = [
            (process, request if process < senders else None, mutation)
            for process in range(PROCESSES)
        ]
        return _flat(pool.map(perform_at_once, arguments, chunksize=1))

    create = Invocation("create", uuid4().hex, {"title": "new"})
    history = send("", 1, create)
    assert history[0].seen
    toggle, retrieve = [
        create._replace(kind=kind, fields={}, id=history[0].seen.id)
        for kind in ("toggle", "retrieve")
    ]
    steps = {
        "may_have_run is always False": [
            ("reset after the query was sent", 1, toggle),
            ("", 1, retrieve),
        ],
        "toggle reads, then writes": [("", PROCESSES, toggle)],
        KEY: [("", PROCESSES, create)],
    }
    for step in steps[workload] * 3:
        history += send(*step)
    return history


@contextmanager
def without_index(crashing: Database) -> Iterator[None]:
    """Drop the unique index, without which PostgreSQL would refuse what the mutation does."""
    index = "todos_by_idempotency_key"
    ((definition,),) = run_sql(crashing.uri, f"SELECT pg_get_indexdef('{index}'::regclass)")
    run_sql(crashing.uri, f"DROP INDEX {index}")
    try:
        yield
    finally:
        run_sql(crashing.uri, "TRUNCATE todos", definition)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_checker_finds_a_mutation_of_the_code(
    crashing: Database, pool: Pool, mutation: str
) -> None:
    assert_linearizable(play(pool, crashing, mutation, ""), crashing)
    with without_index(crashing) if mutation == KEY else nullcontext():
        history = play(pool, crashing, mutation, mutation)
    assert not is_linearizable(history)
    found = shortest(history)
    print(describe(found))
    assert len(found) <= 1 + PROCESSES
