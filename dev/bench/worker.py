"""One candidate in a process of its own: `python -m dev.bench.worker MODULE`.

Each line of standard input is an event in JSON, each line of standard output the response and its
milliseconds. What a candidate does to its process (a wait callback, threads, a heap of models) does
not touch the others. With `--parts` the process is profiled, and so slower, and says where its CPU
time went. With `--group FOLDER` it joins a control group as soon as the module is imported.
"""

import argparse
import importlib
import json
import logging
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

CONTEXT: Any = SimpleNamespace(get_remaining_time_in_millis=lambda: 19_000)
"""Lambda's context object, as far as a candidate looks at it."""

LIBPQ = "libpq and psycopg2"
PACKAGES = "the other packages"
OURS = "this project"
OUR_FILES = tuple(str(Path(__file__).parents[2] / name) for name in ("handler.py", "todo_api/"))


class CpuByPart:
    """Adds up the CPU time of each part.

    At each call and return, the part that ran meanwhile gets the thread's CPU time since the one
    before.
    """

    def __init__(self) -> None:
        self.milliseconds: Counter[str] = Counter()
        self._local = threading.local()
        threading.setprofile(self._record)
        sys.setprofile(self._record)

    def _record(self, frame: FrameType, event: str, function: object) -> None:
        now = time.thread_time()
        thread = vars(self._local)
        running: list[str] = thread.setdefault("running", [PACKAGES])
        self.milliseconds[running[-1]] += (now - thread.get("since", now)) * 1000
        if event in ("call", "c_call"):
            running.append(_part(frame.f_code.co_filename, function))
        elif len(running) > 1:  # else it returns from what was running already
            running.pop()
        thread["since"] = time.thread_time()


def _part(file: str, function: object) -> str:
    if "/psycopg2/" in file or " of psycopg2." in repr(function):
        return LIBPQ
    return OURS if file.startswith(OUR_FILES) else PACKAGES


def main() -> None:
    """Answer events until there are no more."""
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--group", type=Path)
    arguments = parser.parse_args()
    # Lambda's runtime logs at INFO through a handler of the root logger: writing the line is part
    # of the cost.
    logging.basicConfig(filename=os.devnull, level=logging.INFO)
    handler = importlib.import_module(arguments.module).handler
    if arguments.group:
        (arguments.group / "cgroup.procs").write_text(str(os.getpid()))
    profile = CpuByPart() if arguments.parts else None
    for line in sys.stdin:
        event = json.loads(line)
        if profile:
            profile.milliseconds.clear()
        cpu = time.process_time()
        wall = time.perf_counter()
        response = handler(event, CONTEXT)
        wall = (time.perf_counter() - wall) * 1000
        cpu = (time.process_time() - cpu) * 1000
        reply = {
            "response": response,
            "wall": wall,
            "cpu": cpu,
            "parts": profile and profile.milliseconds,
        }
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
