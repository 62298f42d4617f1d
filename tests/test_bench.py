"""The benchmark measures what it says, and the README shows what it measured."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import measure, report
from bench.operations import OPERATIONS
from migrations.__main__ import migrate

TINY = measure.Sizes((1, 1, 1), 1, 1, 1, 600, 10, 2, (2,), 0.2)


@pytest.fixture(scope="module")
def database(new_database: Callable[[], str]) -> str:
    """A database of the benchmark's own."""
    uri = new_database()
    migrate(uri)
    return uri


@pytest.fixture(scope="module")
def result(database: str) -> measure.Result:
    """What a benchmark of a few seconds finds."""
    return measure.run(database, TINY, print)


def test_each_operation_makes_the_connections_and_round_trips_of_the_limit(result: measure.Result) -> None:
    """Proves the counts of a warm invocation, and that the usual way makes more."""
    warm = result["warm"][report.LONGEST]
    assert list(warm) == list(OPERATIONS)
    for costs in warm.values():
        limit, ours, usual = costs["limit"], costs["ours"], costs["usual"]
        assert (ours["connections"], ours["statements"]) == ([1], [1])
        assert (limit["connections"], limit["statements"]) == ([1], [1])
        assert ours["round_trips"] == limit["round_trips"] == [7 if result["pooled"] else 6]
        assert min(usual["round_trips"]) > ours["round_trips"][0]
        assert min(usual["statements"]) > 1


def test_the_first_invocation_makes_no_round_trip_more(result: measure.Result) -> None:
    """Proves it for a process that has just started."""
    warm = result["warm"][report.LONGEST]["list"]
    assert result["first"]["ours"]["round_trips"] == warm["ours"]["round_trips"]
    assert min(result["first"]["usual"]["round_trips"]) > warm["usual"]["round_trips"][0]


def test_no_number_is_missing(result: measure.Result) -> None:
    """Proves that everything was measured, and that a round-trip time shows in what takes its time."""
    for found in _spreads(result):
        assert 0 < found["least"] <= found["median"] <= found["p95"]
    for milliseconds in measure.ROUND_TRIP_MS:
        for costs in result["warm"][str(milliseconds)].values():
            for cost in costs.values():
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


def test_a_budget_is_met_or_missed(result: measure.Result) -> None:
    """Proves that each budget turns with its number."""
    better, worse = copy.deepcopy(result), copy.deepcopy(result)
    for changed, factor in ((better, 0.5), (worse, 2)):
        for costs in [costs for warm in changed["warm"].values() for costs in warm.values()]:
            for kind in ("wall", "cpu"):
                costs["ours"][kind]["median"] = costs["limit"][kind]["median"] * factor
            costs["ours"]["connections"] = [2] if factor > 1 else [1]
            costs["ours"]["round_trips"] = costs["limit"]["round_trips"]
        changed["first"]["ours"]["round_trips"] = [7 if factor < 1 else 12]
        changed["imports"]["handler"]["cpu"]["median"] = changed["imports"]["packages"]["cpu"]["median"] * factor
        changed["pages"][str(changed["page"])]["wall"]["median"] = changed["pages"]["1"]["wall"]["median"] * factor
    assert [met for _, _, met in report.budgets(better)] == [True] * 7
    assert [met for _, _, met in report.budgets(worse)] == [False] * 7


def test_the_chart_names_what_it_shows(result: measure.Result, tmp_path: Path) -> None:
    """Proves that the operations and the contenders can be read off it."""
    report.chart(result, tmp_path / "bench.svg")
    drawn = (tmp_path / "bench.svg").read_text()
    assert all(f">{word}<" in drawn for word in [*OPERATIONS, *report.LABELS.values()])
    assert len(drawn) < 50_000


def test_the_section_goes_between_its_markers_only(result: measure.Result) -> None:
    """Proves that the rest of a page stays as it was, and that a page without the markers is refused."""
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    section = report.readme(result)
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
