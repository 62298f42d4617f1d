"""The candidates, each in a process of its own, and what their requests cost."""

import json
import os
import statistics
import subprocess
import sys
from typing import IO, Any, Self, cast

from dev import ROOT
from dev.bench.operations import OPERATIONS, event
from dev.lab.proxy import Traffic, TrafficCounter

MODULES = {  # of the candidates' handlers
    "bare psycopg2": "dev.bench.bare_psycopg2",
    "this project": "handler",
    "SQLModel tutorial": "dev.bench.tutorial",
    "Powertools": "dev.bench.powertools",  # which has only the list
}

Reply = dict[str, Any]
Samples = dict[str, list[tuple[Reply, Traffic]]]
Costs = dict[str, dict[str, Any]]
"""What an operation costs, by candidate: the different counts seen, and median milliseconds."""


class Worker:
    """A candidate in a process of its own, and the user whose todos it works on."""

    def __init__(self, candidate: str, uri: str, *options: str) -> None:
        self.user = f"bench|{candidate}".replace(" ", "-")
        self.todo_id = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dev.bench.worker", MODULES[candidate], *options],
            cwd=ROOT,
            env=os.environ | {"NEON_DATABASE_URL": uri},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._process.communicate()  # its input ends, and so it does

    def invoke(self, name: str, query: str = "") -> Reply:
        """Send an operation's event, about the todo that was created last."""
        to_worker = cast(IO[str], self._process.stdin)
        from_worker = cast(IO[str], self._process.stdout)
        to_worker.write(json.dumps(event(name, self.user, self.todo_id, query)) + "\n")
        to_worker.flush()
        reply: Reply = json.loads(from_worker.readline())
        response = reply["response"]
        if response["statusCode"] != OPERATIONS[name][-1]:
            raise ValueError(f"{self.user} answers {name} with {response}")
        if name == "create":
            self.todo_id = json.loads(response["body"])["id"]
        return reply

    def measured(self, name: str, wire: TrafficCounter, delay: float) -> tuple[Reply, Traffic]:
        """Invoke once, and count what passes meanwhile."""
        with wire.watch(delay) as traffic:
            return self.invoke(name), traffic


def costs_of(samples: Samples) -> Costs:
    """Summarize what was measured."""
    return {
        candidate: {
            "connections": sorted({traffic.connections for _, traffic in found}),
            "statements": sorted({len(traffic.statements) for _, traffic in found}),
            # TCP's own is made before the proxy sees anything.
            "round trips": sorted(
                {traffic.round_trips + traffic.connections for _, traffic in found}
            ),
            "wall": statistics.median(reply["wall"] for reply, _ in found),
            "cpu": statistics.median(reply["cpu"] for reply, _ in found),
        }
        for candidate, found in samples.items()
    }
