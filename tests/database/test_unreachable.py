"""A server that cannot be reached, or refuses the login: not executed, and before the deadline."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from dev import ROOT
from dev.lab.proxy import unresponsive_port
from dev.lab.sql import run_sql
from dev.ports import free_port
from tests.support.http.apps import app_on
from tests.support.machine import IN_A_NETWORK_OF_ITS_OWN
from tests.support.postgres.fault_scenario import (
    NOT_EXECUTED,
    TIMEOUT_SECONDS,
    FaultScenario,
    each_kind_of_statement,
)
from todo_api.database.isolation import SESSION_SETUP_SQL

pytestmark = pytest.mark.slow


def test_an_unreachable_host_is_not_executed(scenario: FaultScenario) -> None:
    with unresponsive_port("127.0.0.2") as unresponsive:
        for parts, reason in (
            # A name with a space fails without a DNS query, which would take its own time.
            ({"host": "no%20host"}, "could not translate host name"),
            ({"port": str(free_port())}, "Connection refused"),
            ({"host": "127.0.0.2", "port": str(unresponsive)}, "TCP connect timed out"),
        ):
            call = app_on(scenario.uri(**parts), database_timeout_seconds=TIMEOUT_SECONDS)
            line = scenario.assert_outcome(call, "create", NOT_EXECUTED)
            assert line["message"] == "database unavailable"
            assert reason in line["reason"]
    scenario.assert_recovery()


@pytest.mark.namespaces
@pytest.mark.parametrize("function_seconds", [4, 7])
def test_a_silent_name_server_leaves_time_for_the_answer(
    tmp_path: Path, function_seconds: int
) -> None:
    """Also where the database may take longer than the function: look-ups have no deadline.

    The deployment's RES_OPTIONS allow two queries of 1 s each. No look-up begins that would take
    longer than what is left if it takes as long as the last.
    """
    (options,) = re.findall(r'RES_OPTIONS: "(.*)"', (ROOT / "serverless.yml").read_text())
    command = [
        *IN_A_NETWORK_OF_ITS_OWN,
        sys.executable,
        "-m",
        "tests.support.postgres.unresponsive_resolver",
        str(tmp_path),
        str(function_seconds),
    ]
    environment = os.environ | {"RES_OPTIONS": options}
    run = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True, timeout=60
    )
    outcome = json.loads(run.stdout)
    assert (outcome["status"], outcome["problem"]["type"].rpartition(":")[2]) == (503, NOT_EXECUTED)
    assert outcome["asked"]
    assert outcome["reason"].startswith("could not translate host name")
    assert outcome["seconds"] < function_seconds


def test_an_unresponsive_address_leaves_time_for_the_other_one(
    scenario: FaultScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is random, so the test decides it: the unresponsive one first, then the other."""
    connect = psycopg2.connect
    with unresponsive_port("127.0.0.2") as unresponsive:
        both = scenario.uri(host=f"127.0.0.2:{unresponsive},127.0.0.1")
        tried = iter([both, scenario.uri()])

        def connect_in_order(url: str, **options: Any) -> Any:
            assert (url, options.pop("load_balance_hosts")) == (both, "random")
            return connect(next(tried), **options)

        monkeypatch.setattr(psycopg2, "connect", connect_in_order)
        call = app_on(both, database_timeout_seconds=2)
        response = scenario.request(call, "create")
    assert response.status == 201
    assert list(tried) == []


def test_a_wrong_password_database_or_user_is_misconfigured_and_not_retried(
    scenario: FaultScenario,
) -> None:
    for parts in ({"password": "wrong"}, {"dbname": "no_such_database"}, {"user": "no_such_user"}):
        call = app_on(scenario.uri(**parts))
        line = scenario.assert_outcome(call, "create", NOT_EXECUTED, at_most=4)
        assert (line["message"], line["phase"]) == ("database misconfigured", "connect")
    scenario.assert_recovery()


@each_kind_of_statement
def test_a_missing_or_forbidden_role_is_misconfigured(
    scenario: FaultScenario, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    create = f"CREATE ROLE no_member LOGIN PASSWORD '{scenario.parts['password']}'"
    run_sql(scenario.database, "DROP ROLE IF EXISTS no_member", create)
    for user, role, sqlstate in (
        ("postgres", "no_such_role", "22023"),
        ("no_member", "todo_app", "42501"),
    ):
        monkeypatch.setattr(
            "todo_api.database.engine.SESSION_SETUP_SQL",
            SESSION_SETUP_SQL.replace("todo_app", role),
        )
        call = app_on(scenario.uri(user=user), database_timeout_seconds=TIMEOUT_SECONDS)
        line = scenario.assert_outcome(call, operation, NOT_EXECUTED)
        assert (line["message"], line["phase"]) == ("database misconfigured", "execute")
        assert line["sqlstate"] == sqlstate
    scenario.assert_recovery()
