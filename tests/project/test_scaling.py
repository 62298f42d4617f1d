"""The figures of docs/scaling.md follow from its assumptions."""

import re
from math import inf

from dev import ROOT

PAGE = (ROOT / "docs/scaling.md").read_text()
ROWS = [row.split(" | ") for row in re.findall(r"^\| (1[0,]+ \| .*) \|$", PAGE, re.MULTILINE)]
# The prices of Neon's computes.
DOLLARS_PER_HOUR = {"10": 0.25 * 0.106, "1,000": 4 * 0.106, "100,000": 80 * 0.222}


def _number(shown: str) -> float:
    return float(shown.replace(",", ""))


def _price(amount: float, *tiers: tuple[float, float]) -> float:
    bounds = [0, *(bound for bound, _ in tiers)]  # a tier is its upper bound and its price
    return sum(
        max(0, min(amount, tiers[n][0]) - bounds[n]) * tiers[n][1] for n in range(len(tiers))
    )


def test_what_is_in_use_is_the_rate_times_the_seconds() -> None:
    milliseconds = re.findall(r"^\| (?:a .*|P.*'s CPU) \| ([0-9.]+) \|", PAGE, re.MULTILINE)
    assert [rate for rate, *_ in ROWS] == [*DOLLARS_PER_HOUR, *DOLLARS_PER_HOUR]
    for rate, *shown, _ in ROWS[:3]:
        assert [_number(value) for value in shown] == [
            _number(rate) * float(each) / 1000 for each in milliseconds
        ]


def test_the_dollars_follow_from_the_prices() -> None:
    for rate, *shown in ROWS[3:]:
        millions = gigabytes = _number(rate) * 730 * 3600 / 1e6  # of requests, and of 1 kB each
        dollars = [
            _price(millions, (300, 1), (inf, 0.9)),
            millions * 0.2 + millions * 1e6 * 0.04 * 0.5 * 0.0000133334,
            _price(gigabytes * 1.3, (10_240, 0.5), (30_720, 0.25), (51_200, 0.1), (inf, 0.05)),
            _price(gigabytes, (10_240, 0.09), (51_200, 0.085), (153_600, 0.07), (inf, 0.05)),
            DOLLARS_PER_HOUR[rate] * 730,
            _price(gigabytes, (100, 0), (inf, 0.1)),
            gigabytes / 10 * 0.4 * 0.35,
        ]
        assert [_number(value) for value in shown] == [
            round(value) for value in [*dollars, sum(dollars)]
        ]


def test_the_dollars_of_a_million_requests_follow_from_the_prices() -> None:
    shown = re.findall(r" \| \**([0-9.]+)\** \|$", PAGE.split("| price ")[1], re.MULTILINE)
    dollars = [1.00, 0.20, 1e6 * 0.04 * 0.5 * 0.0000133334, 1.3 * 0.50, 0.09]
    assert shown[:6] == [f"{value:.2f}" for value in [*dollars, sum(dollars)]]
