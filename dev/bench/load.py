"""Many function instances at once: `python -m dev.bench.load PROCESSES SECONDS` prints a JSON object.

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

from dev.bench.operations import OPERATIONS, event
from dev.bench.worker import CONTEXT

_start: Barrier


def _begin(start: Barrier) -> None:
    global _start  # a barrier can only be inherited
    _start = start
    # Importing the handler has made an event loop. Forked, it would share its wake-ups with those of all the others.
    asyncio.set_event_loop(asyncio.new_event_loop())


def _run(work: tuple[str, float]) -> tuple[list[float], int, float]:
    """Use the API for some seconds: the milliseconds of each request, how many failed, and the seconds it took."""
    from handler import handler  # it reads the environment

    user, seconds = work
    handler(event("list", user), CONTEXT)  # the first one of a process sets up more than the others
    _start.wait()
    times, errors, todo_id = [], 0, ""
    started = time.perf_counter()
    for name in itertools.cycle(OPERATIONS):
        began = time.perf_counter()
        if began - started >= seconds:
            break
        response = handler(event(name, user, todo_id), CONTEXT)
        times.append((time.perf_counter() - began) * 1000)
        errors += response["statusCode"] != OPERATIONS[name][-1]
        if name == "create":
            todo_id = json.loads(response["body"]).get("id", "")
    return times, errors, time.perf_counter() - started


def main() -> None:
    """Run from the command line."""
    processes, seconds = int(sys.argv[1]), float(sys.argv[2])
    importlib.import_module("handler")  # before forking
    fork = multiprocessing.get_context("fork")
    with fork.Pool(processes, _begin, (fork.Barrier(processes),)) as pool:
        outcomes = pool.map(_run, [(f"load|{number}", seconds) for number in range(processes)], chunksize=1)
    times = sorted(milliseconds for found, _, _ in outcomes for milliseconds in found)
    rate = sum(len(found) / elapsed for found, _, elapsed in outcomes)
    errors = sum(errors for _, errors, _ in outcomes)
    p95 = times[int(len(times) * 0.95)]
    print(json.dumps({"processes": processes, "requests_per_second": rate, "errors": errors, "p95": p95}))


if __name__ == "__main__":
    main()
