"""One contender in a process of its own: `python -m bench.worker MODULE`, events in, responses and their cost out.

Each line of standard input is an event in JSON; each line of standard output is a `Reply`. What a contender does to its
process (psycopg2's wait callback, threads, a heap full of models) does not touch the others, and the CPU time of the
process is that of all its threads.
"""

import importlib
import json
import logging
import os
import sys
import time
from types import SimpleNamespace
from typing import Any, TypedDict

CONTEXT: Any = SimpleNamespace(get_remaining_time_in_millis=lambda: 19_000)
"""Lambda's context object, as far as a contender looks at it."""


class Reply(TypedDict):
    """What an invocation answered, and what it cost in milliseconds."""

    response: dict[str, Any]
    wall: float
    cpu: float


def main() -> None:
    """Answer events until there are no more."""
    # Lambda's runtime logs at INFO through a handler of the root logger: writing the line is part of the cost.
    logging.basicConfig(filename=os.devnull, level=logging.INFO)
    handler = importlib.import_module(sys.argv[1]).handler
    for line in sys.stdin:
        event = json.loads(line)
        cpu, wall = time.process_time(), time.perf_counter()
        response = handler(event, CONTEXT)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(json.dumps(Reply(response=response, wall=wall * 1000, cpu=cpu * 1000)), flush=True)


if __name__ == "__main__":
    main()
