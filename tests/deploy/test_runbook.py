"""docs/runbook.md has what the alarms name, what the log says, and queries that find it."""

import json
import re
from contextlib import closing
from typing import get_args, get_type_hints

import psycopg2
import pytest
import yaml
from awslambdaric.bootstrap import make_error

from dev import ROOT
from dev.lab.sql import run_sql
from dev.ports import free_port
from tests.support.aws.log_lines import lambda_log_lines
from tests.support.documents.pages import blocks
from tests.support.http.apps import app_on
from todo_api.api import problems
from todo_api.database import deadline, errors, parameter_store, refusals
from todo_api.database.todos import TodoRepository

PAGE = ROOT / "docs/runbook.md"
TEXT = PAGE.read_text()
SERVERLESS = (ROOT / "serverless.yml").read_text()


def _section(heading: str) -> str:
    """Return the text below a heading of the second level."""
    _, _, rest = TEXT.partition(f"\n## {heading}\n")
    section, _, _ = rest.partition("\n## ")
    return section


def _first_cells(heading: str) -> set[str]:
    """Return the code spans in the first columns of the tables of a section."""
    cells = re.findall(r"^\| ([^|]*) \|", _section(heading), re.MULTILINE)
    return {span for cell in cells for span in re.findall("`([^`]+)`", cell)}


# --- the alarms -----------------------------------------------------------------------------------


def test_each_alarm_names_its_heading_and_each_heading_has_an_alarm() -> None:
    resources = {
        name: resource
        for part in yaml.safe_load(SERVERLESS)["resources"]
        if isinstance(part, dict)
        for name, resource in part.get("Resources", {}).items()
    }
    alarms = {
        name: resource["Properties"]["AlarmDescription"]
        for name, resource in resources.items()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    }
    headings = re.findall(r"^### (\w+)$", _section("Alarms"), re.MULTILINE)
    assert len(headings) == 5
    assert {name: description.rpartition(" See ")[2] for name, description in alarms.items()} == {
        heading: f"docs/runbook.md#{heading.lower()}" for heading in headings
    }


# --- the log --------------------------------------------------------------------------------------


def test_each_server_error_has_a_row_with_its_status() -> None:
    types = [each for each in vars(problems).values() if isinstance(each, problems.ProblemType)]
    rows = re.findall(r"^\| `([a-z:-]+)` \| (\d+) \|", _section("Problems"), re.MULTILINE)
    assert {(name, int(status)) for name, status in rows} == {
        (each.name, each.status) for each in types if each.status >= 500
    }


def test_each_phase_has_a_table() -> None:
    phases = get_args(get_type_hints(errors.DatabaseUnavailable)["phase"])
    assert re.findall(r"^Phase `(\w+)`", _section("Reasons"), re.MULTILINE) == list(phases)


def _codes_of_parameter_store() -> set[str]:
    import boto3

    client = boto3.client("ssm", region_name="eu-central-1")
    operation = client.meta.service_model.operation_model("GetParameter")
    codes = {shape.name for shape in operation.error_shapes}
    codes.remove("ParameterVersionNotFound")  # only of a name with a version
    return codes | set(parameter_store._TRANSIENT)


OWN_REASONS = {
    *deadline.TIMED_OUT.values(),
    "login timed out",  # in `deadline.wait_until_deadline`
    "timed out",  # in `Database._read_url_until`
    "the parameter's value …",  # in `url_reader`
}


def test_each_reason_that_the_code_knows_has_a_row() -> None:
    named = _first_cells("Reasons")
    assert OWN_REASONS - named == set()
    assert _codes_of_parameter_store() - named == set()
    sqlstates = {name for name in named if re.fullmatch("[0-9A-Z]{5}|[0-9A-Z]{2}", name)}
    assert sqlstates == set(errors._REFUSED)
    texts = {*refusals._LOGIN_REFUSED, *refusals._SERVER_BUSY, *refusals._NO_SERVER_CONNECTION}
    missing = {text for text in texts if not any(re.search(text, name) for name in named)}
    assert missing == set()


# --- the queries ----------------------------------------------------------------------------------

QUERIES = [text for language, text in blocks(PAGE) if not language]
COMMANDS = {"filter", "stats", "sort", "fields"}
FUNCTIONS = {"count", "earliest", "latest", "pct", "bin", "ispresent"}
WORDS = {"as", "by", "desc", "or", "in", "like"}
# https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html#platform-report
PLATFORM = {"record.status", "record.errorType"}


def _fields(query: str) -> set[str]:
    """Return the fields that a query reads."""
    without_values = re.sub(r'"[^"]*"|/[^/]*/|\b\d+m?\b', " ", query)
    aliases = set(re.findall(r"\bas (\w+)", without_values))
    names = set(re.findall(r"@?[a-zA-Z][\w.]*", without_values))
    return names - aliases - COMMANDS - FUNCTIONS - WORDS


def test_queries_consist_of_commands_and_functions_of_logs_insights() -> None:
    assert len(QUERIES) == 5
    for query in QUERIES:
        first, *others = query.strip().splitlines()
        assert all(line.startswith("| ") for line in others)
        commands = [line.removeprefix("| ").split()[0] for line in [first, *others]]
        assert set(commands) <= COMMANDS
        assert set(re.findall(r"(\w+)\(", query)) <= FUNCTIONS
        assert query.count("(") == query.count(")")


def test_queries_read_only_fields_levels_and_messages_that_the_log_has(
    migrated: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_sql(migrated, "ALTER TABLE todos RENAME TO gone")
    nobody = f"postgresql://x:y@127.0.0.1:{free_port()}/z"
    for database in (migrated, nobody):
        call = app_on(database, database_timeout_seconds=0.5)
        call("GET", "/v1/todos", user="x")
        call("GET", "/ready")
    call = app_on(migrated)
    with monkeypatch.context() as patch:
        patch.setattr(TodoRepository, "list", None)
        call("GET", "/v1/todos", user="x")

    lines = lambda_log_lines(caplog)

    failures = {"database misconfigured", "database unavailable", "not ready"}
    found = {line["message"] for line in lines if line["level"] == "ERROR"}
    assert found == {*failures, "unexpected TypeError"}
    messages = {line["message"] for line in lines}
    known = {name for line in lines for name in line}
    known |= {"@timestamp", *make_error("", "", []), *PLATFORM}
    (gateway,) = re.findall(r"format: '(\{.*\})'", SERVERLESS)
    for query in QUERIES:
        fields = set(json.loads(gateway)) if "functionStatus" in query else known
        assert _fields(query) - fields == set()
        assert set(re.findall(r'level = "(.*?)"', query)) <= {"ERROR"}
        assert set(re.findall(r'message = "(.*?)"', query)) <= messages


def test_the_query_for_one_request_finds_it_by_our_id_and_by_lambdas() -> None:
    """A client's `X-Request-Id` takes the place of the gateway's `requestId` in our lines."""
    _, _, section = TEXT.partition("### One request\n\n")
    introduction, _, query = section.partition("\n\n```\n")
    assert re.findall("`(.*?)`", introduction) == ["X-Request-Id", "functionRequestId"]
    assert re.findall(r"(\w+) = ", query.partition("```")[0]) == ["request_id", "requestId"]


def test_the_query_for_sessions_shows_an_open_transaction(migrated: str) -> None:
    (query,) = [text for language, text in blocks(PAGE) if language == "sql"]
    with closing(psycopg2.connect(migrated)) as session, session.cursor() as cursor:
        cursor.execute("SELECT FROM todos")

        ((pid, _, state, *_, blocked_by, last_query),) = run_sql(migrated, query)

        assert (pid, state) == (session.info.backend_pid, "idle in transaction")
        assert (blocked_by, last_query) == ([], "SELECT FROM todos")
