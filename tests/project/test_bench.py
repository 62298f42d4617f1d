"""The benchmark measures every number of the table in docs/performance.md."""

from collections.abc import Callable

import pytest

from dev.bench import measure, report
from dev.bench.operations import OPERATIONS
from dev.bench.worker import LIBPQ, OURS, PACKAGES
from dev.lab.pgbouncer import BINARY
from migrations.__main__ import migrate
from tests.support.machine import TOOLS

TINY = measure.Sizes(1, 1, 1, 600, 10, 2, (), 0.6)


def test_run_measures_every_number_and_we_need_one_round_trip_less_than_bare_psycopg2(
    new_database: Callable[[], str],
) -> None:
    """In each operation, also in the first of a process.

    The number of connections and of statements is the same: one.
    """
    database = new_database()
    migrate(database)
    result = measure.run(database, TINY, print)

    assert list(result["operations"]) == list(OPERATIONS)
    for costs in [*result["operations"].values(), result["first"]]:
        bare, ours, tutorial = (costs[candidate] for candidate in measure.CANDIDATES)
        for cost in (ours, bare):
            assert (cost["connections"], cost["statements"]) == ([1], [1])
        assert (ours["round trips"], bare["round trips"]) == ([6], [7])
        assert min(tutorial["round trips"]) > ours["round trips"][0]
        assert min(tutorial["statements"]) > 1
        for cost in costs.values():
            assert cost["wall"] >= min(cost["round trips"]) * measure.ROUND_TRIP_SECONDS * 900
            assert 0 < cost["cpu"] < cost["wall"]
    assert list(result["parts"]) == [LIBPQ, PACKAGES, OURS]
    assert all(
        value > 0 for part in ("imports", "pages", "parts") for value in result[part].values()
    )
    assert result["load"][1]["rate"] * result["load"][1]["p95"] > 0
    if BINARY:
        assert result["pool"]["held"] >= measure.SLEEP_SECONDS
        # More than one connection can do, so both were used. A busy machine does less than two can.
        assert 1 < result["pool"]["rate"] * measure.SLEEP_SECONDS <= measure.POOL_SIZE
        assert result["request"].held > 0
        assert result["request"].cpu >= 0 or not TOOLS["linux"][0]

    section = report.markdown(result)
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    expected = f"before\n{report.BEGIN}\n{section}\n{report.END}\nafter\n"
    assert report.replaced(page, section) == expected
    for operation in OPERATIONS:
        assert f"\n| {operation} | 1 / 1 / " in section
    with pytest.raises(ValueError, match="lacks"):
        report.replaced("before\nafter\n", section)


def test_make_bench_can_write_its_result_into_its_page() -> None:
    assert report.replaced(report.PAGE.read_text(), "measured") != report.PAGE.read_text()
