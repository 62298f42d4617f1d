"""The benchmark measures every number of the table in docs/performance.md."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from dev.bench import instance, measure, report
from dev.bench.candidates import Worker
from dev.bench.cpu_share import PERIOD_MICROSECONDS, cpu_share, share
from dev.bench.operations import OPERATIONS
from dev.bench.worker import LIBPQ, OURS, PACKAGES
from dev.lab.pgbouncer import BINARY
from tests.support.machine import TOOLS

# Joins a control group, and prints how long 0.3 s of CPU time took in it.
BUSY = """
import os, pathlib, sys, time
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
began, used = time.monotonic(), time.process_time()
while time.process_time() - used < 0.3:
    pass
print(time.monotonic() - began)
"""
TINY = measure.Sizes(1, 1, 1, 1, 600, 10, 2, (), 0.6)


@pytest.mark.slow
def test_run_measures_every_number_and_we_need_one_round_trip_less_than_bare_psycopg2(
    new_migrated: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each operation, also in the first of an instance.

    The number of connections and of statements is the same: one.
    """
    # Every memory size is measured in the same way, and each takes seconds.
    monkeypatch.setattr(instance, "MEMORY_SIZES", (instance.MEGABYTES,))
    database = new_migrated()
    result = measure.run(database, TINY, print)

    assert list(result["operations"]) == list(OPERATIONS)
    first = result["first"]
    for costs in [*result["operations"].values(), first]:
        bare, ours, tutorial = (costs[candidate] for candidate in measure.CANDIDATES)
        for cost in (ours, bare):
            assert (cost["connections"], cost["statements"]) == ([1], [1])
        assert (ours["round trips"], bare["round trips"]) == ([6], [7])
        assert min(tutorial["round trips"]) > ours["round trips"][0]
        assert min(tutorial["statements"]) > 1
        seconds = instance.NEAR_SECONDS if costs is first else measure.ROUND_TRIP_SECONDS
        for cost in costs.values():
            assert cost["wall"] >= min(cost["round trips"]) * seconds * 900
            assert 0 < cost["cpu"] < cost["wall"]
    assert list(first) == list(instance.CANDIDATES)
    if result["memory"]:  # where control groups may be made
        assert list(result["memory"]) == list(instance.MEMORY_SIZES)
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
    assert "\n| this project | 6 | " in section
    assert ("\n| 512 | 0.29 | " in section) == bool(result["memory"])
    with pytest.raises(ValueError, match="lacks"):
        report.replaced("before\nafter\n", section)


@pytest.mark.slow
def test_a_candidate_joins_its_control_group_and_a_process_in_it_has_a_share_of_a_cpu(
    new_migrated: Callable[[], str],
) -> None:
    database = new_migrated()
    with cpu_share(512) as group:
        if group is None:
            pytest.skip("This machine allows no control groups.")
        processes = group / "cgroup.procs"
        with Worker("bare psycopg2", database, "--group", str(group)) as worker:
            worker.invoke("list")
            assert len(processes.read_text().split()) == 1
        command = [sys.executable, "-c", BUSY, str(processes)]
        seconds = float(subprocess.check_output(command))
    # A busy machine takes longer. It had the quota of the period in which it began at once.
    assert seconds >= 0.3 / share(512) - 2 * PERIOD_MICROSECONDS / 1e6


def test_a_million_requests_cost_their_gigabyte_seconds_rounded_up_to_milliseconds() -> None:
    """38.2 and 40 ms are billed as 39 and 40: 39.5 ms of half a gigabyte."""
    warm = instance.warm(512, [38.2, 40.0])
    assert (warm.billed, round(warm.dollars, 6)) == (39.5, round(0.2 + 19_750 * 0.0000133334, 6))


def test_make_bench_can_write_its_result_into_its_page() -> None:
    assert report.replaced(report.PAGE.read_text(), "measured") != report.PAGE.read_text()
