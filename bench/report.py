"""What was measured, as Markdown and as a chart."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.measure import CONTENDERS, ROOT, ROUND_TRIP_MS, Cost, Result

README = ROOT / "README.md"
NUMBERS = ROOT / "docs" / "bench.json"
CHART = ROOT / "docs" / "bench.svg"

BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"
NOT_YET = "Not measured yet: `make bench` fills this in."
LABELS = {"limit": "limit", "ours": "this project", "usual": "usual way"}
LONGEST = str(ROUND_TRIP_MS[-1])


def ratio(result: Result, milliseconds: str, operation: str, contender: str) -> float:
    """An invocation's wall time, as a multiple of the limit's. Medians."""
    costs = result["warm"][milliseconds][operation]
    return costs[contender]["wall"]["median"] / costs["limit"]["wall"]["median"]


# --- budgets ----------------------------------------------------------------------------------------------------------


def budgets(result: Result) -> list[tuple[str, str, bool]]:
    """Each budget: what it asks for, what was found, and whether it is met."""
    found = []
    same = all(
        costs["ours"][count] == costs["limit"][count]
        for costs in result["warm"][LONGEST].values()
        for count in ("connections", "round_trips")
    )
    found.append(("connections and round trips: the limit's", "the same" if same else "others", same))
    for milliseconds, most in (("2", 1.15), ("10", 1.05)):
        ratios = {operation: ratio(result, milliseconds, operation, "ours") for operation in result["warm"][LONGEST]}
        operation, value = _worst(ratios)
        text = f"wall at {milliseconds} ms round trips: at most {most:.2f} times the limit"
        found.append((text, f"{value:.3f} ({operation})", value <= most))
    operation, value = _worst(
        {
            operation: costs["ours"]["cpu"]["median"] - costs["limit"]["cpu"]["median"]
            for operation, costs in result["warm"]["0"].items()
        }
    )
    found.append(("CPU: at most the limit + 2.5 ms", f"+ {value:.2f} ms ({operation})", value <= 2.5))
    more = max(result["first"]["ours"]["round_trips"]) - max(result["warm"][LONGEST]["list"]["ours"]["round_trips"])
    found.append(("first invocation: at most 4 round trips more", f"{more} more", more <= 4))
    imports = result["imports"]
    value = imports["handler"]["cpu"]["median"] / imports["packages"]["cpu"]["median"]
    found.append(("import of the handler: at most 1.05 times the bare packages (CPU)", f"{value:.3f}", value <= 1.05))
    pages = result["pages"]
    value = pages[str(result["page"])]["wall"]["median"] / pages["1"]["wall"]["median"]
    text = f"page {result['page']:,} of {result['rows']:,} todos: at most 1.2 times page 1"
    found.append((text, f"{value:.3f}", value <= 1.2))
    return found


# --- Markdown ---------------------------------------------------------------------------------------------------------


def readme(result: Result) -> str:
    """The section of the README."""
    way = "PostgreSQL behind PgBouncer with TLS" if result["pooled"] else "PostgreSQL, without TLS"
    lines = [
        f"Measured by `make bench` on {result['date']} ({result['machine']}): {way}, and a proxy that makes each round "
        "trip last as long as it says. *Limit* is a handler written by hand that connects, executes one statement and "
        "dumps the rows; *usual* is the shape of SQLModel's tutorial. Medians.",
        "",
        *counts(result),
        "",
        *times(result, LONGEST),
        "",
        "![Time of an invocation](docs/bench.svg)",
        "",
        *others(result),
        "",
        *_table(
            ["budget", "found", ""],
            [[text, value, "met" if met else "**missed**"] for text, value, met in budgets(result)],
        ),
    ]
    return "\n".join(lines)


def counts(result: Result) -> list[str]:
    """A table of what is counted, which is exact at the longest round-trip time."""
    warm = result["warm"][LONGEST]
    return _table(
        ["limit / this project / usual way", "connections", "statements", "round trips"],
        [
            [
                operation,
                _cells(costs, lambda cost: _counts(cost["connections"])),
                _cells(costs, lambda cost: _counts(cost["statements"])),
                _cells(costs, lambda cost: _counts(cost["round_trips"])),
            ]
            for operation, costs in warm.items()
        ],
    )


def times(result: Result, milliseconds: str) -> list[str]:
    """A table of what is timed, at one round-trip time."""
    warm = result["warm"][milliseconds]

    return _table(
        [f"round trips of {milliseconds} ms", "wall, ms", "wall p95", "CPU, ms", "CPU p95", "÷ limit"],
        [
            [
                operation,
                _cells(costs, lambda cost: f"{cost['wall']['median']:.1f}"),
                _cells(costs, lambda cost: f"{cost['wall']['p95']:.1f}"),
                _cells(costs, lambda cost: f"{cost['cpu']['median']:.1f}"),
                _cells(costs, lambda cost: f"{cost['cpu']['p95']:.1f}"),
                " / ".join(f"{ratio(result, milliseconds, operation, name):.2f}" for name in CONTENDERS),
            ]
            for operation, costs in warm.items()
        ],
    )


def others(result: Result) -> list[str]:
    """A list of everything else."""
    first, imports = result["first"], result["imports"]
    trips = " / ".join(_counts(first[name]["round_trips"]) for name in CONTENDERS)
    walls = " / ".join(f"{first[name]['wall']['median']:.0f}" for name in CONTENDERS)
    lines = [
        f"- The first invocation of a process, at {LONGEST} ms: {trips} round trips, {walls} ms.",
        f"- Importing the handler takes {imports['handler']['cpu']['median']:.0f} ms of CPU, the bare packages "
        f"{imports['packages']['cpu']['median']:.0f}, and {imports['in use']['cpu']['median']:.0f} together with what "
        "FastAPI imports for its first route with a parameter, and SQLAlchemy for PostgreSQL.",
    ]
    for number, page in result["pages"].items():
        lines.append(
            f"- Page {int(number):,} of {result['rows']:,} todos: {page['wall']['median']:.1f} ms, of which "
            f"{page['database_ms']:.2f} in PostgreSQL, {page['buffers']} buffers ({' > '.join(page['plan'])})."
        )
    for load in result["load"]:
        instances = "instance" if load["processes"] == 1 else "instances at once"
        lines.append(
            f"- {load['processes']} {instances}, over 10 server connections: "
            f"{load['requests_per_second']:.0f} requests a second, {load['errors']} errors, p95 {load['p95']:.0f} ms."
        )
    return lines


def into(page: str, section: str) -> str:
    """The page with this section between its markers.

    Raises:
        ValueError: the page does not have the markers, once and in order.
    """
    filled, found = re.subn(
        f"({re.escape(BEGIN)}\n).*({re.escape(END)})",
        lambda markers: markers[1] + section + "\n" + markers[2],
        page,
        flags=re.DOTALL,
    )
    if found != 1:
        raise ValueError(f"the page lacks {BEGIN} and {END}")
    return filled


def _cells(costs: dict[str, Cost], value: Callable[[Cost], str]) -> str:
    return " / ".join(value(costs[contender]) for contender in CONTENDERS)


def _worst(values: dict[str, float]) -> tuple[str, float]:
    return max(values.items(), key=lambda item: item[1])


def _counts(different: list[int]) -> str:
    return "-".join(str(count) for count in sorted({different[0], different[-1]}))


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


# --- the chart --------------------------------------------------------------------------------------------------------

COLOURS = {"limit": "#8b949e", "ours": "#2f81f7", "usual": "#d29922"}
GREY = "#7d8590"
"""Legible on white and on black."""

LOOK: Any = {  # matplotlib's type for it lists every setting there is
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
    "font.size": 9,
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
}


def chart(result: Result, path: Path) -> None:
    """Draw the wall time of the operations at the longest round-trip time."""
    warm = result["warm"][LONGEST]
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(7, 3.4), layout="constrained")
        axes = figure.subplots()
        for index, contender in enumerate(CONTENDERS):
            places = [number + (index - 1) * 0.27 for number in range(len(warm))]
            walls = [costs[contender]["wall"]["median"] for costs in warm.values()]
            bars = axes.barh(places, walls, height=0.25, color=COLOURS[contender], label=LABELS[contender])
            axes.bar_label(bars, fmt="%.0f", padding=2, fontsize=7)
        axes.set_yticks(range(len(warm)), list(warm))
        axes.invert_yaxis()
        axes.set_xlabel(f"milliseconds per invocation, at round trips of {LONGEST} ms (median)")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
        figure.savefig(path, format="svg", transparent=True, metadata={"Date": None})
