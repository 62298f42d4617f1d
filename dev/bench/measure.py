"""The measurements.

Candidates take turns, so that whatever else the machine does affects all of them alike.
"""

import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime
from itertools import chain, cycle, takewhile
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from dev import ROOT
from dev.bench import instance
from dev.bench.candidates import Costs, Samples, Worker, costs_of
from dev.bench.instance import NEAR_SECONDS
from dev.bench.operations import OPERATIONS
from dev.bench.worker import LIBPQ
from dev.lab.neon_proxy import neon_proxy
from dev.lab.pgbouncer import BINARY, pgbouncer
from dev.lab.proxy import TrafficCounter
from dev.lab.sql import changed_database, run_sql
from todo_api.models.page import PAGE_DEFAULT, Cursor

CANDIDATES = ("bare psycopg2", "this project", "SQLModel tutorial")
ROUND_TRIP_SECONDS = 0.01
# Server connections, processes, and the duration of an insert.
POOL_SIZE = 2
POOL_CLIENTS = 4
SLEEP_SECONDS = 0.5
# What the handler cannot do without.
LIBRARIES = "fastapi, sqlmodel, mangum, psycopg2, pydantic_settings"

Result = dict[str, Any]


class Sizes(NamedTuple):
    """How often each thing is done.

    `page` is the far page of `rows` todos that is compared with the first.
    """

    rounds: int
    first: int  # first requests of an instance
    warm: int  # rounds of operations by memory size
    imports: int
    rows: int
    page: int
    pages: int
    processes: tuple[int, ...]  # numbers of processes under load, besides one
    load_seconds: float


FULL = Sizes(60, 10, 30, 20, 1_000_000, 1_000, 100, (10, 50), 10)
QUICK = Sizes(3, 1, 2, 3, 60_000, 1_000, 10, (10,), 1)


def run(database: str, sizes: Sizes, log: Callable[[str], None]) -> Result:
    """Measure everything on a migrated database that nobody else uses.

    Through PgBouncer where it is installed.
    """
    with ExitStack() as stack:
        pooled_uri = database
        if BINARY:
            pooler = stack.enter_context(
                pgbouncer(database, looks_up_users=False, default_pool_size=10)
            )
            pooled_uri = pooler.uri()
        neon = stack.enter_context(neon_proxy(pooled_uri))
        uri = neon.uri()
        wire = neon.counter
        workers = {
            candidate: stack.enter_context(Worker(candidate, uri)) for candidate in CANDIDATES
        }
        for worker in workers.values():
            # Enough todos for a full page.
            _make_todos(database, worker.user, PAGE_DEFAULT + 10)
        _make_todos(database, "bench|Powertools", PAGE_DEFAULT + 10)
        log("first requests, then warm ones by memory size")
        result: Result = {
            "first": instance.first_requests(uri, wire, sizes.first),
            "memory": instance.by_memory(uri, wire, sizes.warm),
        }
        delays = {"operations": ROUND_TRIP_SECONDS, "operations, near": NEAR_SECONDS}
        for name, delay in delays.items():
            log(
                f"{sizes.rounds} rounds of {len(OPERATIONS)} operations, "
                f"{delay * 1000:.0f} ms for a round trip"
            )
            result[name] = _operations(workers, wire, sizes.rounds, delay)
        cpu = result["operations"]["update"]["this project"]["cpu"]
        result["parts"] = _parts(uri, cpu, sizes.rounds)
        log(f"pages of {sizes.rows:,} todos")
        result["pages"] = _pages(workers["this project"], database, sizes)
        log("load, then imports")
        # Past the proxies, which are one process and would be what is measured: PgBouncer ends TLS
        # itself. `alone` is one process, so no request waits.
        with pooler.watch() if BINARY else nullcontext() as request:
            alone = _load(pooled_uri, 1, sizes.load_seconds)
        more = {number: _load(pooled_uri, number, sizes.load_seconds) for number in sizes.processes}
        result |= {"request": request, "load": {1: alone} | more}
        if BINARY:
            result["pool"] = _small_pool(database, sizes.load_seconds)
        result["imports"] = _imports(uri, sizes.imports)
    return result | {
        "date": datetime.now(UTC).date(),
        "machine": _machine(),
        "pooled": BINARY,
        "rows": sizes.rows,
    }


def _operations(
    workers: dict[str, Worker], wire: TrafficCounter, rounds: int, delay: float
) -> dict[str, Costs]:
    samples: dict[str, Samples] = {
        name: {candidate: [] for candidate in workers} for name in OPERATIONS
    }
    for number in range(-1, rounds):  # the first round only warms up
        for name in OPERATIONS:
            replies = {
                candidate: worker.measured(name, wire, delay)
                for candidate, worker in workers.items()
            }
            titles = {
                str(reply["response"]["body"]).count('"title"') for reply, _ in replies.values()
            }
            if len(titles) > 1:
                raise ValueError(
                    f"the candidates answer {name} with different numbers of todos: {titles}"
                )
            for candidate, measured in replies.items():
                samples[name][candidate] += [measured] if number >= 0 else []
    return {name: costs_of(found) for name, found in samples.items()}


def _parts(uri: str, cpu: float, rounds: int) -> dict[str, float]:
    """CPU milliseconds of an update by part.

    Profiling slows down Python code only, so that gets what libpq leaves.
    """
    with Worker("this project", uri, "--parts") as worker:
        worker.invoke("create")
        # The first one only warms up.
        samples = [worker.invoke("update")["parts"] for _ in range(rounds + 1)][1:]
    parts = {part: statistics.median(sample[part] for sample in samples) for part in samples[0]}
    libpq = parts.pop(LIBPQ)
    total = sum(parts.values())
    return {LIBPQ: libpq} | {part: time / total * (cpu - libpq) for part, time in parts.items()}


def _pages(worker: Worker, database: str, sizes: Sizes) -> dict[int, float]:
    worker.user = "bench|pages"
    _make_todos(database, worker.user, sizes.rows)
    offset = (sizes.page - 1) * PAGE_DEFAULT - 1
    rows = "FROM todos WHERE user_id = 'bench|pages' ORDER BY created_at DESC, id DESC"
    ((created_at, todo_id),) = run_sql(
        database, f"SELECT created_at, id::text {rows} OFFSET {offset} LIMIT 1"
    )
    queries = {1: "", sizes.page: f"?cursor={Cursor(created_at, UUID(todo_id))}"}
    times: dict[int, list[float]] = {page: [] for page in queries}
    for page, query in list(queries.items()) * sizes.pages:
        times[page].append(worker.invoke("list", query)["wall"])
    return {page: statistics.median(found) for page, found in times.items()}


def _make_todos(database: str, user: str, number: int) -> None:
    run_sql(
        database,
        f"INSERT INTO users (id) VALUES ('{user}') ON CONFLICT DO NOTHING",
        "SET session_replication_role = replica",  # no need to look up the user for each row
        "INSERT INTO todos (user_id, title, created_at) "
        f"SELECT '{user}', 'Todo ' || n, now() - n * interval '1 second' "
        f"FROM generate_series(1, {number}) n",
        "VACUUM ANALYZE todos",
    )


def _load(
    uri: str, processes: int, seconds: float, operations: Iterable[str] = OPERATIONS
) -> dict[str, float]:
    """Requests per second and their p95 in milliseconds.

    From instances that each handle one request after the other.
    """
    with ExitStack() as stack, ThreadPoolExecutor(processes) as pool:
        workers = [stack.enter_context(Worker("this project", uri)) for _ in range(processes)]
        list(pool.map(lambda worker: worker.invoke("create"), workers))  # until all have started
        end = time.monotonic() + seconds

        def use(worker: Worker) -> list[float]:
            names = takewhile(lambda _: time.monotonic() < end, cycle(operations))
            return [worker.invoke(name)["wall"] for name in names]

        times = sorted(chain.from_iterable(pool.map(use, workers)))
        # Taken before the processes end, which takes a while.
        rate = len(times) / (time.monotonic() - end + seconds)
    return {"rate": rate, "p95": times[int(len(times) * 0.95)]}


def _small_pool(database: str, seconds: float) -> dict[str, float]:
    """Creates per second through a pool that is too small.

    And the seconds for which each holds a server connection.
    """
    sleeps = f"CHECK (pg_sleep({SLEEP_SECONDS})::text IS NOT NULL)"
    slow = f"ALTER TABLE todos ADD CONSTRAINT slow {sleeps} NOT VALID"
    undo = "ALTER TABLE todos DROP CONSTRAINT slow"
    with (
        changed_database(database, slow, undo),
        pgbouncer(database, looks_up_users=False, default_pool_size=POOL_SIZE) as pooler,
    ):
        with pooler.watch() as request:  # alone, so without waiting
            _load(pooler.uri(), 1, seconds, ["create"])
        rate = _load(pooler.uri(), POOL_CLIENTS, seconds, ["create"])["rate"]
    return {"rate": rate, "held": request.held / 1000}


def _imports(uri: str, number: int) -> dict[str, float]:
    times: dict[str, list[float]] = {"handler": [], LIBRARIES: []}
    # Keep bytecode, as in the zip.
    variables = os.environ | {"NEON_DATABASE_URL": uri, "PYTHONDONTWRITEBYTECODE": ""}
    for modules in list(times) * (number + 1):
        code = (
            f"import time; began = time.process_time(); import {modules}; "
            "print(time.process_time() - began)"
        )
        seconds = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, env=variables)
        times[modules].append(float(seconds) * 1000)
    # The first one is left out, because it compiles.
    return {modules: statistics.median(found[1:]) for modules, found in times.items()}


def _machine() -> str:
    information = Path("/proc/cpuinfo")
    model = (
        re.search("model name.*: (.*)", information.read_text()) if information.exists() else None
    )
    name = model[1] if model else platform.machine()
    return f"{os.cpu_count()} times {name}, {platform.system()}, Python {platform.python_version()}"
