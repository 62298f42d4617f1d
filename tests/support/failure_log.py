"""What the report of a failed test shows of the log. A plugin of tests/conftest.py."""

import logging
from io import StringIO

import pytest

from dev.log import LineFormatter


def report_handler(config: pytest.Config) -> logging.StreamHandler[StringIO]:
    """Return the handler of the reports. `caplog` has another, which keeps every record."""
    plugin = config.pluginmanager.get_plugin("logging-plugin")
    assert plugin
    handler: logging.StreamHandler[StringIO] = plugin.report_handler
    return handler


def pytest_sessionstart(session: pytest.Session) -> None:
    """Show no line below WARNING, and the `extra` of each, such as the reason."""
    handler = report_handler(session.config)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(LineFormatter("%(levelname)s %(message)s"))
