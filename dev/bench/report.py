"""What was measured, as a section of docs/performance.md."""

import re

from dev import ROOT
from dev.bench import instance
from dev.bench.candidates import Costs
from dev.bench.cpu_share import share
from dev.bench.measure import CANDIDATES, LIBRARIES, POOL_CLIENTS, POOL_SIZE, Result

PAGE = ROOT / "docs/performance.md"
BEGIN = "<!-- make bench: begin -->"
END = "<!-- make bench: end -->"

HEAD = """\
Measured by `make bench` on {date} ({machine}): {server}, behind a
proxy that ends TLS, as Neon's does, and makes each round trip last 10 ms. \
Each cell shows bare psycopg2 / this project
/ SQLModel's tutorial, all with one URL. \
The first is a hand-written handler that connects, executes one statement and
dumps the rows. Medians.

| | connections | statements | round trips | wall, ms | wall ÷ bare psycopg2 \
| wall at 2 ms | CPU, ms |
|---|---|---|---|---|---|---|---|"""


def markdown(result: Result) -> str:
    """The section: a table of the operations, and a list of everything else."""
    imports = result["imports"]
    pages = result["pages"]
    server = "PostgreSQL and PgBouncer" if result["pooled"] else "PostgreSQL"
    lines = [HEAD.format(date=result["date"], machine=result["machine"], server=server)]
    for operation, costs in result["operations"].items():
        ratios = " / ".join(
            f"{costs[name]['wall'] / costs['bare psycopg2']['wall']:.2f}" for name in CANDIDATES
        )
        counts = [
            _each(costs, what) for what in ("connections", "statements", "round trips", "wall")
        ]
        near = _each(result["operations, near"][operation], "wall")
        lines.append(f"| {' | '.join([operation, *counts, ratios, near, _each(costs, 'cpu')])} |")
    parts = ", ".join(
        f"{part} {milliseconds:.1f}" for part, milliseconds in result["parts"].items()
    )
    lines += [
        "",
        f"- CPU of an update, ms: {parts}.",
        f"- Importing the handler: {imports['handler']:.0f} ms of CPU, "
        f"the packages alone {imports[LIBRARIES]:.0f}.",
        *(
            f"- {number} at once, past the proxy: {load['rate']:.0f} requests per second, "
            f"p95 {load['p95']:.0f} ms."
            for number, load in result["load"].items()
        ),
        *(
            f"- Page {page:,} of {result['rows']:,} todos: {wall:.1f} ms."
            for page, wall in pages.items()
        ),
    ]
    if result["pooled"]:
        cost = result["request"]
        rate = result["pool"]["rate"]
        held = result["pool"]["held"]
        lines += [
            f"- Requests hold a server connection for {cost.held:.2f} ms, "
            f"and cost PgBouncer {cost.cpu:.1f} ms of CPU.",
            f"- {POOL_CLIENTS} at once, {POOL_SIZE} server connections, each held {held:.3f} s: "
            f"{rate:.2f} requests per second; {POOL_SIZE} ÷ {held:.3f} = {POOL_SIZE / held:.2f}, "
            f"ratio {rate * held / POOL_SIZE:.2f}.",
        ]
    return "\n".join([*lines, "", *_first_requests(result), "", *_by_memory(result)])


def _first_requests(result: Result) -> list[str]:
    costs = result["first"]
    size = f"{instance.MEGABYTES} MB"
    part = f"{share(instance.MEGABYTES):.2f}"
    if result["memory"]:
        cpu = f"After its start it has {part} of a CPU, as Lambda gives {size}"
    else:
        cpu = (
            f"It had a whole CPU, where Lambda gives {size} {part}: no control group could be made"
        )
    baseline = costs["Powertools"]["wall"]
    lines = [
        f"The first list of an instance, at 2 ms. {cpu}:",
        "",
        "| | round trips | wall, ms | wall ÷ Powertools | CPU, ms |",
        "|---|---|---|---|---|",
    ]
    for candidate in instance.CANDIDATES:
        cost = costs[candidate]
        cells = [_shown(cost[what]) for what in ("round trips", "wall", "cpu")]
        cells.insert(2, f"{cost['wall'] / baseline:.2f}")
        lines.append(f"| {candidate} | {' | '.join(cells)} |")
    return lines


def _by_memory(result: Result) -> list[str]:
    if not result["memory"]:
        return [
            "Requests by memory size were not measured, because no control group could be made."
        ]
    lines = [
        "Warm requests of this project by memory size, at 2 ms, one after the other:",
        "",
        "| memory, MB | of a CPU | p50, ms | p95, ms | billed, ms | $ for a million |",
        "|---|---|---|---|---|---|",
    ]
    for megabytes, warm in result["memory"].items():
        lines.append(
            f"| {megabytes:,} | {share(megabytes):.2f} | {warm.p50:.0f} | {warm.p95:.0f} "
            f"| {warm.billed:.1f} | {warm.dollars:.2f} |"
        )
    prices = "[arm64 in us-east-1](https://aws.amazon.com/lambda/pricing/)"
    return [
        *lines,
        "",
        f"The dollars are those of {prices}: {instance.DOLLARS_PER_MILLION_REQUESTS:.2f} for a "
        f"million requests, {instance.DOLLARS_PER_GIGABYTE_SECOND:.10f} for a GB-second.",
    ]


def replaced(page: str, section: str) -> str:
    """The page with this section between its markers.

    Raises:
        ValueError: the page does not have the markers, once and in order.
    """
    pattern = f"({re.escape(BEGIN)}\n).*({re.escape(END)})"
    filled, found = re.subn(
        pattern, lambda match: f"{match[1]}{section}\n{match[2]}", page, flags=re.DOTALL
    )
    if found != 1:
        raise ValueError(f"the page lacks {BEGIN} and {END}")
    return filled


def _each(costs: Costs, what: str) -> str:
    return " / ".join(_shown(costs[candidate][what]) for candidate in CANDIDATES)


def _shown(value: float | list[int]) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    return "-".join(map(str, sorted({value[0], value[-1]})))
