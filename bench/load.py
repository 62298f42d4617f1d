"""Many instances of the function at once: `python -m bench.load PROCESSES SECONDS` prints a `Load`.

Lambda runs one invocation per instance, so each instance is a process. They are forked from one that has imported the
handler, for importing it 50 times over would take longer than the measurement.
"""

import asyncio
import importlib
import itertools
import json
import multiprocessing
import sys
import time
from multiprocessing.synchronize import Barrier
from typing import Any, TypedDict

from bench.operations import OPERATIONS, event
from bench.worker import CONTEXT


class Load(TypedDict):
    """What came of it."""

    processes: int
    requests: int
    errors: int
    requests_per_second: float
    p95: float
    """Milliseconds."""


_start: Barrier


def _inherit(start: Barrier) -> None:
    global _start  # a barrier can only be inherited
    _start = start
    # Importing the handler has made an event loop. Forked, it would share its wake-ups with those of all the others.
    asyncio.set_event_loop(asyncio.new_event_loop())


def _run(work: tuple[str, float]) -> tuple[list[float], int, float]:
    """Use the API for some seconds: the milliseconds of each request, how many failed, and the seconds it took."""
    user, seconds = work
    _send("list", user, "")  # the first one of a process sets up more than the others
    _start.wait()
    times, errors, todo_id = [], 0, ""
    started = time.perf_counter()
    for name in itertools.cycle(OPERATIONS):
        began = time.perf_counter()
        if began - started >= seconds:
            break
        response = _send(name, user, todo_id)
        times.append((time.perf_counter() - began) * 1000)
        errors += response["statusCode"] != OPERATIONS[name].status
        if name == "create":
            todo_id = json.loads(response["body"]).get("id", "")
    return times, errors, time.perf_counter() - started


def _send(name: str, user: str, todo_id: str) -> dict[str, Any]:
    from handler import handler  # it reads the environment

    return handler(event(name, user, todo_id), CONTEXT)


def main() -> None:
    """Run from the command line."""
    processes, seconds = int(sys.argv[1]), float(sys.argv[2])
    importlib.import_module("handler")  # before forking
    fork = multiprocessing.get_context("fork")
    with fork.Pool(processes, _inherit, (fork.Barrier(processes),)) as pool:
        # One piece of work each: all wait at the barrier for all.
        outcomes = pool.map(_run, [(f"load|{number}", seconds) for number in range(processes)], chunksize=1)
    times = sorted(milliseconds for found, _, _ in outcomes for milliseconds in found)
    load = Load(
        processes=processes,
        requests=len(times),
        errors=sum(errors for _, errors, _ in outcomes),
        requests_per_second=sum(len(found) / elapsed for found, _, elapsed in outcomes),
        p95=times[int(len(times) * 0.95)],
    )
    print(json.dumps(load))


if __name__ == "__main__":
    main()
