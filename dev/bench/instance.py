"""Requests with the share of a CPU that Lambda gives an instance.

An instance starts with a whole CPU, so a process joins its control group after the import.
"""

import math
import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from dev.bench.candidates import Costs, Samples, Worker, costs_of
from dev.bench.cpu_share import cpu_share
from dev.bench.operations import OPERATIONS
from dev.lab.proxy import TrafficCounter

CANDIDATES = ("bare psycopg2", "Powertools", "this project", "SQLModel tutorial")
MEGABYTES = 512  # memorySize in serverless.yml
MEMORY_SIZES = (256, 384, MEGABYTES, 1_024, 1_769)
NEAR_SECONDS = 0.002  # a round trip to a database in the same region

# arm64 in us-east-1: https://aws.amazon.com/lambda/pricing/
DOLLARS_PER_MILLION_REQUESTS = 0.20
DOLLARS_PER_GIGABYTE_SECOND = 0.0000133334


class Warm(NamedTuple):
    """Warm requests at one memory size: milliseconds, and dollars for a million."""

    p50: float
    p95: float
    billed: float
    dollars: float


def first_requests(uri: str, wire: TrafficCounter, rounds: int) -> Costs:
    """Return what the first list of a process costs, with a whole CPU if there are no groups."""
    samples: Samples = {candidate: [] for candidate in CANDIDATES}
    with cpu_share(MEGABYTES) as group:
        for candidate in CANDIDATES * (rounds + 1):
            with Worker(candidate, uri, *_joining(group)) as worker:
                samples[candidate].append(worker.measured("list", wire, NEAR_SECONDS))
    # The first one is left out, because it compiles.
    return costs_of({candidate: found[1:] for candidate, found in samples.items()})


def by_memory(uri: str, wire: TrafficCounter, rounds: int) -> dict[int, Warm]:
    """Return what warm requests cost, or nothing where there are no control groups."""
    times: dict[int, list[float]] = {}
    with ExitStack() as stack:
        workers: dict[int, Worker] = {}
        for megabytes in MEMORY_SIZES:
            group = stack.enter_context(cpu_share(megabytes))
            if group is None:
                return {}
            worker = Worker("this project", uri, *_joining(group))
            workers[megabytes] = stack.enter_context(worker)
            times[megabytes] = []
        for number in range(-1, rounds):  # the first round only warms up
            for megabytes, worker in workers.items():
                for name in OPERATIONS:
                    reply, _ = worker.measured(name, wire, NEAR_SECONDS)
                    if number >= 0:
                        times[megabytes].append(reply["wall"])
    return {megabytes: warm(megabytes, found) for megabytes, found in times.items()}


def _joining(group: Path | None) -> list[str]:
    return ["--group", str(group)] if group else []


def warm(megabytes: int, times: list[float]) -> Warm:
    """Return what requests of these milliseconds cost."""
    billed = statistics.mean(map(math.ceil, times))  # Lambda rounds up to a millisecond
    gigabyte_seconds = megabytes / 1024 * billed / 1000
    dollars = DOLLARS_PER_MILLION_REQUESTS + gigabyte_seconds * 1e6 * DOLLARS_PER_GIGABYTE_SECOND
    p95 = sorted(times)[int(len(times) * 0.95)]
    return Warm(statistics.median(times), p95, billed, dollars)
