"""The benchmark measures every number of the table in docs/performance.md."""

from collections.abc import Callable

import pytest

from dev.bench import measure, report
from dev.bench.operations import OPERATIONS
from migrations.__main__ import migrate

TINY = measure.Sizes(1, 1, 1, 600, 10, 2, (2,), 0.2)


def test_run_measures_every_number_and_our_counts_equal_those_of_bare_psycopg2(new_database: Callable[[], str]) -> None:
    """Connections, statements and round trips are equal in each operation, also in the first of a process."""
    database = new_database()
    migrate(database)
    result = measure.run(database, TINY, print)

    assert list(result["operations"]) == list(OPERATIONS)
    for costs in [*result["operations"].values(), result["first"]]:
        bare, ours, tutorial = (costs[candidate] for candidate in measure.CANDIDATES)
        assert (ours["connections"], ours["statements"]) == (bare["connections"], bare["statements"]) == ([1], [1])
        assert ours["round trips"] == bare["round trips"] == [7 if result["pooled"] else 6]
        assert min(tutorial["round trips"]) > ours["round trips"][0]
        assert min(tutorial["statements"]) > 1
        for cost in costs.values():
            assert cost["wall"] >= min(cost["round trips"]) * measure.ROUND_TRIP_SECONDS * 900
            assert 0 < cost["cpu"] < cost["wall"]
    assert all(value > 0 for value in [*result["imports"].values(), *result["pages"].values()])
    assert [(load["processes"], load["errors"]) for load in result["load"]] == [(2, 0)]

    section = report.markdown(result)
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    assert report.replaced(page, section) == f"before\n{report.BEGIN}\n{section}\n{report.END}\nafter\n"
    assert [operation for operation in OPERATIONS if f"\n| {operation} | 1 / 1 / " not in section] == []
    with pytest.raises(ValueError, match="lacks"):
        report.replaced("before\nafter\n", section)


def test_make_bench_can_write_its_result_into_its_page() -> None:
    assert report.replaced(report.PAGE.read_text(), "measured") != report.PAGE.read_text()
