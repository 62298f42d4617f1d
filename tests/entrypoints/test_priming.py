"""The event that handler.py handles at import, so that the first request is not slower."""

import os
import subprocess
import sys

import pytest

from dev import ROOT
from dev.lab.proxy import TrafficCounter

LOG = "import logging; logging.basicConfig(level=logging.INFO, format='%(message)s')\n"
IMPORT = f"{LOG}import handler\n"
FIRST_LIST = """
import sys
from dev.bench.worker import CONTEXT
from dev.lab.events import http_api_event
user = "first-list"
authorizer = {"jwt": {"claims": {"sub": user}}}
event = http_api_event("GET", "/v1/todos", {"X-User-Id": user}, None, authorizer=authorizer)
imported = set(sys.modules)
response = handler.handler(event, CONTEXT)
print(response["statusCode"], set(sys.modules) - imported)
"""


def _run(code: str, environment: dict[str, str]) -> tuple[str, str]:
    command = [sys.executable, "-c", code]
    variables = os.environ | environment | {"LOG_LEVEL": "INFO"}
    outcome = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    return outcome.stdout, outcome.stderr


@pytest.mark.parametrize("source", ["header", "authorizer"])
def test_the_first_list_imports_no_module_and_is_the_first_to_connect_and_to_log(
    environment: dict[str, str], wire: TrafficCounter, source: str
) -> None:
    with wire.watch() as traffic:
        output = _run(IMPORT + FIRST_LIST, environment | {"IDENTITY_SOURCE": source})
    assert output == ("200 set()\n", "request\n")
    assert (traffic.connections, len(traffic.statements)) == (1, 1)


def test_a_priming_that_is_not_refused_ends_the_start(environment: dict[str, str]) -> None:
    broken = "from todo_api.api import todos; todos.router.routes.clear()\n"
    _, errors = _run(broken + IMPORT, environment)
    assert errors.splitlines()[-1] == "RuntimeError: Priming was answered 404 instead of 422."


def test_a_priming_that_meets_a_bug_ends_the_start_and_logs_the_bug(
    environment: dict[str, str],
) -> None:
    broken = "from todo_api.api import session; session.user_id_of = None\n"
    _, errors = _run(broken + IMPORT, environment)
    assert errors.splitlines()[0] == "unexpected TypeError"
    assert errors.splitlines()[-1] == "RuntimeError: Priming was answered 500 instead of 422."
