"""The benchmark measures what it says, and the README shows what it measured."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import measure, report
from bench.operations import OPERATIONS
from migrations.__main__ import migrate

TINY = measure.Sizes((1, 1, 1), 1, 1, 1, 600, 10, 2, (2,), 0.2)


def test_a_run_finds_every_number_and_the_counts_of_the_limit(new_database: Callable[[], str]) -> None:
    """Proves that each operation makes the limit's connections and round trips, also as the first of a process.

    One test, because a run takes some seconds.
    """
    database = new_database()
    migrate(database)
    result = measure.run(database, TINY, print)

    warm = result["warm"][report.LONGEST]
    assert list(warm) == list(OPERATIONS)
    for costs in warm.values():
        limit, ours, usual = costs["limit"], costs["ours"], costs["usual"]
        assert (ours["connections"], ours["statements"]) == ([1], [1])
        assert (limit["connections"], limit["statements"]) == ([1], [1])
        assert ours["round_trips"] == limit["round_trips"] == [7 if result["pooled"] else 6]
        assert min(usual["round_trips"]) > ours["round_trips"][0]
        assert min(usual["statements"]) > 1
    first = result["first"]
    assert first["ours"]["round_trips"] == warm["list"]["ours"]["round_trips"]
    assert min(first["usual"]["round_trips"]) > warm["list"]["usual"]["round_trips"][0]

    for found in _spreads(result):
        assert 0 < found["least"] <= found["median"] <= found["p95"]
    for milliseconds in measure.ROUND_TRIP_MS:
        for cost in [cost for costs in result["warm"][str(milliseconds)].values() for cost in costs.values()]:
            assert cost["wall"]["least"] >= min(cost["round_trips"]) * milliseconds * 0.9
    for page in result["pages"].values():
        assert page["plan"] == ["Limit", "Result", "Index Scan backward todos_by_user"]
    assert [(load["processes"], load["errors"]) for load in result["load"]] == [(2, 0)] * result["pooled"]
    assert all(load["requests"] > 0 for load in result["load"])


def _spreads(value: Any) -> Iterator[measure.Spread]:
    if isinstance(value, dict):
        if set(value) == set(measure.Spread.__annotations__):
            yield value  # type: ignore[misc]  # so it is one
        for member in value.values():
            yield from _spreads(member)


def test_contenders_that_do_not_do_the_same_are_refused() -> None:
    """Proves that ids and times may differ, and that nothing else may."""
    todo = {"id": "1", "user_id": "a", "title": "x", "created_at": "now", "updated_at": "now"}
    same, other = {**todo, "id": "2", "user_id": "b", "created_at": "later"}, {**todo, "title": "y"}
    measure.refuse_unlike("create", [json.dumps(todo), json.dumps(same)])
    measure.refuse_unlike("list", [json.dumps({"items": [todo], "next_cursor": None}), json.dumps([same])])
    measure.refuse_unlike("delete", ["", ""])
    for unlike in (json.dumps(other), json.dumps([todo, todo]), ""):
        with pytest.raises(ValueError, match="differently"):
            measure.refuse_unlike("create", [json.dumps(todo), unlike])


def _result(times_the_limit: float, round_trips: int) -> measure.Result:
    """A result that nobody measured."""

    def spread(milliseconds: float) -> measure.Spread:
        return {"least": milliseconds, "median": milliseconds, "p95": milliseconds}

    def cost(times: float, trips: int) -> measure.Cost:
        time = spread(10 * times)
        return {"connections": [1], "statements": [1], "round_trips": [trips], "wall": time, "cpu": time}

    def page(times: float) -> measure.Page:
        plan = ["Limit", "Index Scan"]
        return {"wall": spread(times), "cpu": spread(times), "plan": plan, "database_ms": 0.1, "buffers": 4}

    of_one = {"limit": cost(1, 7), "ours": cost(times_the_limit, round_trips), "usual": cost(2, 19)}
    return {
        "date": "2026-11-20",
        "machine": "a machine",
        "pooled": True,
        "rows": 1_000,
        "page": 10,
        "invocations": [1, 1, 1],
        "warm": {str(milliseconds): dict.fromkeys(OPERATIONS, of_one) for milliseconds in measure.ROUND_TRIP_MS},
        "first": {**of_one, "ours": cost(times_the_limit, 7 + (round_trips - 7) * 6)},
        "imports": {
            name: {"wall": spread(times), "cpu": spread(times)}
            for name, times in (("packages", 1), ("in use", 1.02), ("handler", times_the_limit))
        },
        "pages": {"1": page(1), "10": page(times_the_limit)},
        "load": [{"processes": 2, "requests": 9, "errors": 0, "requests_per_second": 9, "p95": 1}],
    }


GOOD = _result(1.04, 7)


@pytest.mark.parametrize(("result", "met"), [(GOOD, True), (_result(1.3, 8), False)])
def test_a_budget_is_met_or_missed(result: measure.Result, *, met: bool) -> None:
    """Proves that each budget turns with its number."""
    assert [found for _, _, found in report.budgets(result)] == [met] * 7


def test_the_chart_names_what_it_shows(tmp_path: Path) -> None:
    """Proves that the operations and the contenders can be read off it."""
    report.chart(GOOD, tmp_path / "bench.svg")
    drawn = (tmp_path / "bench.svg").read_text()
    assert all(f">{word}<" in drawn for word in [*OPERATIONS, *report.LABELS.values()])
    assert len(drawn) < 50_000


def test_the_section_goes_between_its_markers_only() -> None:
    """Proves that the rest of a page stays as it was, and that a page without the markers is refused."""
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    section = report.readme(GOOD)
    assert report.into(page, section) == f"before\n{report.BEGIN}\n{section}\n{report.END}\nafter\n"
    with pytest.raises(ValueError, match="lacks"):
        report.into("before\nafter\n", section)


def test_the_readme_shows_the_numbers_that_are_kept() -> None:
    """Proves that no number of the section was written by hand."""
    page = report.README.read_text()
    if report.NUMBERS.exists():
        assert report.into(page, report.readme(json.loads(report.NUMBERS.read_text()))) == page
        assert report.CHART.exists()
    else:
        assert report.into(page, report.NOT_YET) == page
