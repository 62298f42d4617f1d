"""The alarms, the dashboard, and the metrics that both take from the function's log."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from psycopg2.extensions import parse_dsn

from dev.ports import free_port
from tests.support.aws.log_lines import lambda_log_lines
from tests.support.aws.serverless import TOPIC, Project
from tests.support.http.apps import app_on

pytestmark = [pytest.mark.node, pytest.mark.slow]


@pytest.fixture(scope="module", params=["dev", "branch-login"])
def stage(request: pytest.FixtureRequest) -> str:
    """A stage without and one with a topic."""
    return str(request.param)


@pytest.fixture
def resources(stage: str, packaged: Callable[[str], Project]) -> dict[str, Any]:
    """The resources of the stage's stack."""
    return packaged(stage).resources


def test_alarms_watch_errors_latency_and_throttles(stage: str, resources: dict[str, Any]) -> None:
    api = [{"Name": "ApiId", "Value": {"Ref": "HttpApi"}}]
    function = [{"Name": "FunctionName", "Value": {"Ref": "ApiLambdaFunction"}}]
    alarms = {
        name: resource["Properties"]
        for name, resource in resources.items()
        if name.endswith("Alarm")
    }
    topics = [TOPIC if stage == "branch-login" else {"Ref": "AWS::NoValue"}]
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == topics
        assert alarm["TreatMissingData"] == "notBreaching"
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    rate, *counts = alarms["ServerErrorsAlarm"]["Metrics"]
    assert rate == {"Id": "rate", "Expression": "IF(errors >= 5, 100 * errors / requests, 0)"}
    assert alarms["ServerErrorsAlarm"]["Threshold"] == 5
    for count, name, metric in zip(counts, ("errors", "requests"), ("5xx", "Count"), strict=True):
        source = {"Namespace": "AWS/ApiGateway", "MetricName": metric, "Dimensions": api}
        statistic = {"Metric": source, "Period": 300, "Stat": "Sum"}
        assert count == {"Id": name, "ReturnData": False, "MetricStat": statistic}
    watched = {
        name: (alarm["Namespace"], alarm["MetricName"], alarm.get("Dimensions"), alarm["Threshold"])
        for name, alarm in alarms.items()
        if "MetricName" in alarm
    }
    assert watched == {
        "DatabaseMisconfiguredAlarm": (f"todo-api-{stage}", "DatabaseMisconfigured", None, 0),
        "LatencyAlarm": ("AWS/ApiGateway", "Latency", api, 2000),
        "ThrottlesAlarm": ("AWS/Lambda", "Throttles", function, 0),
        "ErrorsAlarm": ("AWS/Lambda", "Errors", function, 0),
    }
    assert alarms["LatencyAlarm"]["ExtendedStatistic"] == "p95"


def test_dashboard_shows_the_metrics_that_the_filters_take_from_the_log(
    stage: str, resources: dict[str, Any]
) -> None:
    taken = {
        (transformation["MetricNamespace"], transformation["MetricName"])
        for resource in resources.values()
        if resource["Type"] == "AWS::Logs::MetricFilter"
        for transformation in resource["Properties"]["MetricTransformations"]
    }
    body = resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    widgets = json.loads(body.replace("${AWS::Region}", "eu-central-1"))["widgets"]
    assert len({(widget["x"], widget["y"]) for widget in widgets}) == 6
    metrics = [metric for widget in widgets for metric in widget["properties"]["metrics"]]
    shown = {(metric[0], metric[1]) for metric in metrics if str(metric[0]).startswith("todo-api")}
    search = f"SEARCH('{{todo-api-{stage},problem}} ServerErrors', 'Sum', 60)"
    assert [metric[0]["expression"] for metric in metrics if isinstance(metric[0], dict)] == [
        search
    ]
    assert shown | {(f"todo-api-{stage}", "ServerErrors")} == taken


# --- the metric filters ---------------------------------------------------------------------------


@pytest.fixture
def filters(resources: dict[str, Any]) -> dict[str, str]:
    """The pattern of each metric."""
    return {
        name: resource["Properties"]["FilterPattern"]
        for name, resource in resources.items()
        if resource["Type"] == "AWS::Logs::MetricFilter"
    }


def _matches(pattern: str, line: dict[str, Any]) -> bool:
    """Whether a log line has what a pattern of CloudWatch's for JSON asks for."""
    alternatives = pattern.strip("{ }").split(" || ")
    return any(
        all(_holds(condition, line) for condition in each.split(" && ")) for each in alternatives
    )


def _holds(condition: str, line: Any) -> bool:
    found = re.fullmatch(r"\$\.([a-zA-Z_.]+) (=|>=) (.+)", condition)
    assert found, condition
    path, operator, value = found.groups()
    for name in path.split("."):
        line = line.get(name, {}) if isinstance(line, dict) else {}
    if line == {}:
        return False
    if operator == ">=":
        return bool(line >= json.loads(value))
    return value == "*" or bool(line == json.loads(value))


def test_each_metric_counts_the_lines_that_it_is_about(
    filters: dict[str, str], new_migrated: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    uri = new_migrated()
    password = parse_dsn(uri)["password"]
    nobody = f"postgresql://x:y@127.0.0.1:{free_port()}/z"
    caplog.clear()
    # Only the last is retried until the deadline.
    for database, seconds in ((uri, 8), (uri.replace(password, "another"), 8), (nobody, 0.5)):
        call = app_on(database, database_timeout_seconds=seconds)
        call("GET", "/v1/todos", user="x")

    counted = [
        (line["message"], {name for name, pattern in filters.items() if _matches(pattern, line)})
        for line in lambda_log_lines(caplog)
        if line["logger"] == "todo_api"
    ]

    times = {"ConnectTime", "StatementTime"}
    assert counted == [
        ("request", times),
        ("database misconfigured", {"DatabaseMisconfigured"}),
        ("request", {*times, "ServerErrors"}),
        ("database unavailable", set()),
        ("request", {*times, "ServerErrors"}),
    ]
