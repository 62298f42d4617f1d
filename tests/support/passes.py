"""The passes of the tests: their options, the tests that each selects, and what it has to run.

A plugin of tests/conftest.py. A pass is a run of pytest: that of `make test`, one of the two of
`make test-all`, or that of `make verify`.
"""

import os

import pytest

from dev.lab.pgbouncer import BINARY
from tests.support.machine import TOOLS
from todo_api.settings import drop_libpq_variables

_MISSING = pytest.StashKey[list[str]]()

NOT_SLOW = "not slow"
"""What `make test` selects with `-m`."""

LEAST_TESTS = {"all": 2150, NOT_SLOW: 1650, "--pgbouncer": 145, "--url": 200, "--quick": 15}
"""The minimum number of tests of each pass.

`--pgbouncer` runs those that are marked `pooled` or `pgbouncer`. `--url` runs those that go through
either entry point and need no database, with `--quick` only those that are also marked `smoke`.
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the tests at their long sizes")
    parser.addoption(
        "--pgbouncer", action="store_true", help="run the tests of the API through a real PgBouncer"
    )
    parser.addoption(
        "--url", help="run the tests of the API that need no database against this deployed stage"
    )
    parser.addoption("--quick", action="store_true", help="run only the smoke tests; with --url")


def pytest_configure(config: pytest.Config) -> None:
    """Drop the settings of whoever runs the tests, and find the tools that this machine lacks.

    In CI, where nobody reads the report, a missing tool fails the run.
    """
    drop_libpq_variables()
    os.environ.pop("NEON_DATABASE_URL", None)
    tools = list(TOOLS.values())
    if config.getoption("--pgbouncer"):
        install = "apt-get install pgbouncer"
        tools = [(BINARY, f"PgBouncer is not installed, so no test goes through it: {install}")]
    if config.getoption("--url"):
        tools = []
    missing = [message for tool, message in tools if not tool]
    in_ci = bool(os.environ.get("CI"))
    if missing and (in_ci or config.getoption("--pgbouncer")):
        pytest.exit(missing[0], returncode=int(in_ci))
    config.stash[_MISSING] = missing


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Report the missing tools."""
    for message in config.stash[_MISSING]:
        terminalreporter.write_line(message)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, and select the tests of this pass."""
    items[:] = [item for item in items if _is_selected(item, config)]


def _is_selected(item: pytest.Item, config: pytest.Config) -> bool:
    markers = {marker.name for marker in item.iter_markers()}
    if config.getoption("--url"):
        fixtures = getattr(item, "fixturenames", ())
        through_http_only = "either_api" in fixtures and "postgres" not in fixtures
        return through_http_only and ("smoke" in markers or not config.getoption("--quick"))
    if any(marker in markers and not tool for marker, (tool, _) in TOOLS.items()):
        return False
    if "soak" in markers and not config.getoption("--soak"):
        return False
    if not config.getoption("--pgbouncer"):
        return "pgbouncer" not in markers
    callspec = getattr(item, "callspec", None)
    if callspec and callspec.params.get("either_api") == "local":
        return False  # PgBouncer is behind the API, so one entry point is enough
    return bool(markers & {"pooled", "pgbouncer"})


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a complete run with too few tests.

    A renamed marker or fixture must not drop tests silently.
    """
    config = session.config
    # There is none in the workers of pytest-xdist.
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    is_green = session.exitstatus == pytest.ExitCode.OK
    if reporter is None or not is_green or not _is_complete(config):
        return
    options = [option for option in ("--quick", "--url", "--pgbouncer") if config.getoption(option)]
    least = LEAST_TESTS[options[0] if options else config.option.markexpr or "all"]
    passed = len(reporter.stats.get("passed", []))
    if passed < least:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(
            f"\nOnly {passed} tests ran, expected at least {least}. Is a marker missing?", red=True
        )


def _is_complete(config: pytest.Config) -> bool:
    """Return whether the run is a whole pass, on a machine with every tool."""
    return (
        config.args_source is pytest.Config.ArgsSource.TESTPATHS
        and not config.option.keyword
        and config.option.markexpr in ("", NOT_SLOW)
        and not config.option.collectonly
        and not config.stash[_MISSING]
    )
