"""One candidate in a process of its own: `python -m dev.bench.worker MODULE`, events in, responses and their cost out.

Each line of standard input is an event in JSON, each line of standard output the response and its milliseconds. What a
candidate does to its process (a wait callback, threads, a heap of models) does not touch the others.
"""

import importlib
import json
import logging
import os
import sys
import time
from types import SimpleNamespace
from typing import Any

CONTEXT: Any = SimpleNamespace(get_remaining_time_in_millis=lambda: 19_000)
"""Lambda's context object, as far as a candidate looks at it."""


def main() -> None:
    """Answer events until there are no more."""
    # Lambda's runtime logs at INFO through a handler of the root logger: writing the line is part of the cost.
    logging.basicConfig(filename=os.devnull, level=logging.INFO)
    handler = importlib.import_module(sys.argv[1]).handler
    for line in sys.stdin:
        event = json.loads(line)
        cpu, wall = time.process_time(), time.perf_counter()
        response = handler(event, CONTEXT)
        wall, cpu = (time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000
        print(json.dumps({"response": response, "wall": wall, "cpu": cpu}), flush=True)


if __name__ == "__main__":
    main()
