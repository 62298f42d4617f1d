"""The measurements. Contenders take turns, so that whatever else the machine does meets all of them alike."""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypedDict, cast
from uuid import UUID

import psycopg2
from psycopg2 import extensions

from bench import load, proxy
from bench.operations import OPERATIONS, event
from bench.worker import Reply
from todo_api.models import PAGE_DEFAULT, Cursor

ROOT = Path(__file__).parent.parent
CONTENDERS = {"limit": "bench.limit", "ours": "handler", "usual": "bench.usual"}
"""The module of each contender's handler."""

ROUND_TRIP_MS = (0, 2, 10)
PACKAGES = "fastapi, sqlmodel, mangum, psycopg2, pydantic_settings"
"""What the handler cannot do without."""

IN_USE = f"{PACKAGES}, pydantic.v1, sqlalchemy.dialects.postgresql"
"""The same with what FastAPI imports for the first parameter of a route, and SQLAlchemy for PostgreSQL."""


@dataclass(frozen=True)
class Sizes:
    """How often each thing is done."""

    rounds: tuple[int, int, int]
    """Lives of a todo at each round-trip time."""

    warm_up: int
    first: int
    imports: int
    rows: int
    page: int
    """The far page, compared with the first."""

    pages: int
    processes: tuple[int, ...]
    load_seconds: float


FULL = Sizes((150, 60, 30), 30, 10, 20, 1_000_000, 1_000, 100, (1, 10, 50), 10)
QUICK = Sizes((6, 3, 2), 4, 1, 3, 60_000, 1_000, 10, (1, 10, 50), 1)


class Spread(TypedDict):
    """Milliseconds."""

    least: float
    median: float
    p95: float


class Cost(TypedDict):
    """What an invocation costs. Counts are the different ones that were seen, which is one where all is well.

    Without a round-trip time an answer may overtake what the client sends right after the question, and then counts as
    two: only with one are the round trips exact.
    """

    connections: list[int]
    statements: list[int]
    round_trips: list[int]
    wall: Spread
    cpu: Spread


class Page(TypedDict):
    """What a page of the list costs, and how PostgreSQL reads it."""

    wall: Spread
    cpu: Spread
    plan: list[str]
    database_ms: float
    buffers: int


class Result(TypedDict):
    """Everything that was measured."""

    date: str
    machine: str
    pooled: bool
    rows: int
    page: int
    invocations: list[int]
    warm: dict[str, dict[str, dict[str, Cost]]]
    """By round-trip time in milliseconds, operation and contender."""

    first: dict[str, Cost]
    """The first invocation of a process, a list at the longest round-trip time, by contender."""

    imports: dict[str, dict[str, Spread]]
    """Of `handler`, of the bare `packages`, and of those `in use`: `wall` and `cpu`."""

    pages: dict[str, Page]
    load: list[load.Load]


def run(database: str, sizes: Sizes, say: Callable[[str], None]) -> Result:
    """Measure everything on a migrated database, past which nothing else is done meanwhile."""
    with Network(database) as network:
        say("first invocations")
        first = _first(network, sizes)
        with Workers(network) as workers:
            for worker in workers.values():
                _make_todos(database, worker.user, PAGE_DEFAULT + 10)  # so that a page is a full one
            warm = _warm(workers, network, sizes, say)
            workers["ours"].user = "bench|pages"
            say(f"making {sizes.rows:,} todos")
            _make_todos(database, workers["ours"].user, sizes.rows)
            pages = _pages(workers["ours"], network, database, sizes, say)
        loads = []
        for processes in sizes.processes if network.path["pooled"] else ():
            say(f"{processes} instances at once")
            loads.append(_load(processes, sizes, network))
        say("imports")
        imports = _imports(sizes, network)
        return Result(
            date=datetime.now(UTC).date().isoformat(),
            machine=_machine(),
            pooled=network.path["pooled"],
            rows=sizes.rows,
            page=sizes.page,
            invocations=list(sizes.rounds),
            warm=warm,
            first=first,
            imports=imports,
            pages=pages,
            load=loads,
        )


# --- processes --------------------------------------------------------------------------------------------------------


class Child:
    """A module run as a process of its own, which answers lines with lines until its input ends."""

    def __init__(self, module: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=os.environ | (environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is ours: they end when their input does
        )

    def say(self, line: str) -> None:
        """Write a line."""
        pipe = cast(IO[str], self._process.stdin)
        pipe.write(line + "\n")
        pipe.flush()

    def hear(self) -> str:
        """Read a line."""
        line = cast(IO[str], self._process.stdout).readline()
        if not line:
            raise ChildProcessError(f"{self._process.args!r} ended")
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()


class Network(Child):
    """The proxy, and PgBouncer where it is installed."""

    def __init__(self, database: str) -> None:
        super().__init__("bench.proxy", database)
        self.path: proxy.Path = json.loads(self.hear())

    @contextmanager
    def counting(self, milliseconds: float) -> Iterator[dict[str, Any]]:
        """Count what passes in the `with` block, at this round-trip time. The counts are there after the block."""
        traffic: dict[str, Any] = {}
        self.say(str(milliseconds / 1000))
        self.hear()
        yield traffic
        self.say("")
        traffic |= json.loads(self.hear())


class Worker(Child):
    """A contender, and the user whose todos it works on."""

    def __init__(self, contender: str, network: Network) -> None:
        environment = {"NEON_DATABASE_URL": network.path["uri"]}
        super().__init__("bench.worker", CONTENDERS[contender], environment=environment)
        self.user = f"bench|{contender}"
        self.todo_id = ""

    def invoke(self, name: str, query: str = "") -> Reply:
        """Hand over an operation's event, on the todo that was created last."""
        self.say(json.dumps(event(name, self.user, self.todo_id, query)))
        reply: Reply = json.loads(self.hear())
        response = reply["response"]
        if response["statusCode"] != OPERATIONS[name].status:
            raise ValueError(f"{self.user} answers {name} with {response}")
        if name == "create":
            self.todo_id = json.loads(response["body"])["id"]
        return reply


class Workers(dict[str, Worker]):
    """All contenders."""

    def __init__(self, network: Network) -> None:
        super().__init__({contender: Worker(contender, network) for contender in CONTENDERS})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        for worker in self.values():
            worker.__exit__(None, None, None)


# --- invocations ------------------------------------------------------------------------------------------------------


class Samples:
    """What one contender's invocations cost."""

    def __init__(self) -> None:
        self._replies: list[Reply] = []
        self._traffic: list[dict[str, Any]] = []

    def take(self, worker: Worker, name: str, network: Network, milliseconds: float) -> Reply:
        """Invoke once."""
        with network.counting(milliseconds) as traffic:
            reply = worker.invoke(name)
        self._replies.append(reply)
        self._traffic.append(traffic)
        return reply

    def cost(self) -> Cost:
        """All of it together."""
        return Cost(
            connections=_different(traffic["connections"] for traffic in self._traffic),
            statements=_different(len(traffic["statements"]) for traffic in self._traffic),
            # TCP's own is made before the proxy sees anything.
            round_trips=_different(traffic["round_trips"] + traffic["connections"] for traffic in self._traffic),
            wall=_spread([reply["wall"] for reply in self._replies]),
            cpu=_spread([reply["cpu"] for reply in self._replies]),
        )


def _first(network: Network, sizes: Sizes) -> dict[str, Cost]:
    samples = {contender: Samples() for contender in CONTENDERS}
    for _ in range(sizes.first):
        for contender in CONTENDERS:
            with Worker(contender, network) as worker:
                samples[contender].take(worker, "list", network, ROUND_TRIP_MS[-1])
    return {contender: found.cost() for contender, found in samples.items()}


def _warm(
    workers: Workers, network: Network, sizes: Sizes, say: Callable[[str], None]
) -> dict[str, dict[str, dict[str, Cost]]]:
    costs: dict[str, dict[str, dict[str, Cost]]] = {}
    for milliseconds, rounds in zip(ROUND_TRIP_MS, sizes.rounds, strict=True):
        warm_up = 0 if costs else sizes.warm_up
        for number in range(-warm_up, rounds):
            if number <= 0:
                samples = {name: {contender: Samples() for contender in CONTENDERS} for name in OPERATIONS}
            say(f"round trips of {milliseconds} ms: {max(number, 0) + 1} of {rounds}")
            for name in OPERATIONS:
                replies = [
                    samples[name][contender].take(worker, name, network, milliseconds)
                    for contender, worker in workers.items()
                ]
                refuse_unlike(name, [reply["response"]["body"] for reply in replies])
        costs[str(milliseconds)] = {
            name: {contender: found.cost() for contender, found in of_operation.items()}
            for name, of_operation in samples.items()
        }
    return costs


def refuse_unlike(name: str, bodies: Sequence[str]) -> None:
    """See to it that all contenders do the same.

    Raises:
        ValueError: their answers to an operation differ, in more than what belongs to one contender or one moment.
    """
    shown = []
    for body in bodies:
        answer = json.loads(body or "[]")
        todos = answer.get("items", [answer]) if isinstance(answer, dict) else answer
        shown.append([todo | dict.fromkeys(("id", "user_id", "created_at", "updated_at")) for todo in todos])
    if any(todos != shown[0] for todos in shown):
        raise ValueError(f"the contenders answer {name} differently: {shown}")


# --- pages ------------------------------------------------------------------------------------------------------------


def _pages(
    worker: Worker, network: Network, database: str, sizes: Sizes, say: Callable[[str], None]
) -> dict[str, Page]:
    connection = psycopg2.connect(database)
    connection.autocommit = True
    ((created_at, todo_id),) = _execute(
        connection,
        "SELECT created_at, id::text FROM todos WHERE user_id = %s ORDER BY created_at DESC, id DESC OFFSET %s LIMIT 1",
        worker.user,
        (sizes.page - 1) * PAGE_DEFAULT - 1,
    )
    queries = {"1": "", str(sizes.page): f"?cursor={Cursor(created_at, UUID(todo_id), None)}"}
    replies: dict[str, list[Reply]] = {page: [] for page in queries}
    for number in range(sizes.pages):
        say(f"pages 1 and {sizes.page:,}: {number + 1} of {sizes.pages}")
        for page, query in queries.items():
            replies[page].append(worker.invoke("list", query))
    pages = {}
    for page, query in queries.items():
        with network.counting(0) as traffic:
            worker.invoke("list", query)
        plan = _plan(connection, traffic["statements"][-1])
        pages[page] = Page(
            wall=_spread([reply["wall"] for reply in replies[page]]),
            cpu=_spread([reply["cpu"] for reply in replies[page]]),
            plan=list(_nodes(plan["Plan"])),
            database_ms=plan["Planning Time"] + plan["Execution Time"],
            buffers=plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"],
        )
    connection.close()
    return pages


def _make_todos(database: str, user: str, number: int) -> None:
    connection = psycopg2.connect(database)
    connection.autocommit = True
    _execute(connection, "INSERT INTO users (id) VALUES (%s) ON CONFLICT DO NOTHING", user)
    _execute(connection, "SET session_replication_role = replica")  # no need to look up the user once for each row
    _execute(
        connection,
        "INSERT INTO todos (user_id, title, created_at) "
        "SELECT %s, 'Todo ' || n, now() - n * interval '1 second' FROM generate_series(1, %s) n",
        user,
        number,
    )
    _execute(connection, "VACUUM ANALYZE todos")
    connection.close()


def _plan(connection: extensions.connection, caught: str) -> dict[str, Any]:
    """How PostgreSQL runs what was caught on the wire: the preamble, and the statement after it."""
    preamble, _, statement = caught.partition("; ")
    ((plans,),) = _execute(connection, f"{preamble}; EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")
    found: dict[str, Any] = plans[0]
    return found


def _nodes(node: dict[str, Any]) -> Iterator[str]:
    words = [node["Node Type"]]
    if "Index Name" in node:
        words += [node["Scan Direction"].lower(), node["Index Name"]]
    if "Rows Removed by Filter" in node:
        words.append(f"({node['Rows Removed by Filter']} rows filtered away)")
    yield " ".join(words)
    for child in node.get("Plans", []):
        yield from _nodes(child)


def _execute(connection: extensions.connection, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []


# --- whole processes --------------------------------------------------------------------------------------------------


def _load(processes: int, sizes: Sizes, network: Network) -> load.Load:
    # Past the proxy, which is one process and would be what is measured.
    environment = {"NEON_DATABASE_URL": network.path["direct"]}
    found: load.Load = json.loads(
        _python("-m", "bench.load", str(processes), str(sizes.load_seconds), environment=environment)
    )
    return found


def _imports(sizes: Sizes, network: Network) -> dict[str, dict[str, Spread]]:
    modules = {"packages": PACKAGES, "in use": IN_USE, "handler": "handler"}
    # Bytecode is kept, as it is in the zip: compiling is no part of importing.
    environment = {"NEON_DATABASE_URL": network.path["uri"], "PYTHONDONTWRITEBYTECODE": ""}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in modules}
    for number in range(-1, sizes.imports):
        for name, imported in modules.items():
            code = (
                "import time; wall, cpu = time.perf_counter(), time.process_time(); "
                f"import {imported}; print(time.perf_counter() - wall, time.process_time() - cpu)"
            )
            wall, cpu = _python("-c", code, environment=environment).split()
            if number >= 0:  # the first one compiles
                times[name].append((float(wall) * 1000, float(cpu) * 1000))
    return {
        name: {"wall": _spread([wall for wall, _ in found]), "cpu": _spread([cpu for _, cpu in found])}
        for name, found in times.items()
    }


def _python(*arguments: str, environment: dict[str, str]) -> str:
    command = [sys.executable, *arguments]
    variables = os.environ | environment
    return subprocess.run(
        command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True, check=True, timeout=300
    ).stdout


# --- numbers ----------------------------------------------------------------------------------------------------------


def _different(counts: Iterable[int]) -> list[int]:
    return sorted(set(counts))


def _spread(times: Sequence[float]) -> Spread:
    ordered = sorted(times)
    return Spread(least=ordered[0], median=statistics.median(ordered), p95=ordered[int(len(ordered) * 0.95)])


def _machine() -> str:
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line.partition(": ")[2] for line in information.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"{os.cpu_count()} times {model}, {platform.system()}, Python {platform.python_version()}"
