"""Variables of libpq, which Neon's snippets and other programs set, change nothing."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy import runtime_login
from dev.lab.events import http_api_event
from dev.ports import free_port
from migrations import __main__ as migrations
from tests.support.http.clients import Api, Context, invoke_app, through_http
from tests.support.http.servers import start_server
from tests.support.postgres.logins import MemoryParameter, new_stage
from todo_api.app import create_app

# https://www.postgresql.org/docs/current/libpq-envars.html
VARIABLES = {
    "PGAPPNAME": "other",
    "PGCHANNELBINDING": "require",
    "PGCLIENTENCODING": "nothing",
    "PGCONNECT_TIMEOUT": "soon",
    "PGDATABASE": "other",
    "PGDATESTYLE": "nothing",
    "PGGSSENCMODE": "require",
    "PGHOST": "ep-a-b-pooler.eu-central-1.aws.neon.tech",
    "PGHOSTADDR": "127.0.0.9",
    "PGLOADBALANCEHOSTS": "nothing",
    "PGMAXPROTOCOLVERSION": "nothing",
    "PGMINPROTOCOLVERSION": "nothing",
    "PGOPTIONS": "-csearch_path=app",
    "PGPASSWORD": "wrong",
    "PGPORT": "9",
    "PGREQUIREAUTH": "md5",
    "PGSERVICE": "nothing",
    "PGSSLCERTMODE": "require",
    "PGSSLMAXPROTOCOLVERSION": "nothing",
    "PGSSLMINPROTOCOLVERSION": "nothing",
    "PGSSLMODE": "require",
    "PGSSLNEGOTIATION": "direct",
    "PGSSLROOTCERT": "system",
    "PGTARGETSESSIONATTRS": "standby",
    "PGTZ": "Nowhere/Nothing",
    "PGUSER": "other",
}


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the variables: no connection of ours would survive any one of these values."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("variables")
def test_requests_do_not_see_libpqs_variables(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEON_DATABASE_URL", database)

    app = create_app()

    event = http_api_event("GET", "/v1/todos", {"X-User-Id": "nobody"}, None)
    assert invoke_app(app, event, Context()).json() == {"items": [], "next_cursor": None}


@pytest.mark.usefixtures("variables")
def test_migrations_do_not_see_libpqs_variables(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NEON_DATABASE_URL", database)
    monkeypatch.setattr(sys, "argv", ["migrations"])

    migrations.main()

    assert capsys.readouterr().out.startswith("Nothing to do")


def test_the_step_for_the_functions_login_does_not_see_libpqs_variables(
    new_migrated: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = new_migrated()
    parameter = MemoryParameter()
    monkeypatch.setattr(runtime_login, "PluginParameter", lambda: parameter)
    monkeypatch.setattr(sys, "argv", ["runtime_login", new_stage()])
    for name, value in {**VARIABLES, "NEON_DATABASE_URL": uri}.items():
        monkeypatch.setenv(name, value)

    runtime_login.main()

    assert parameter.value.startswith("postgresql://todo_app_branch_")


def test_the_local_server_takes_only_settings_from_its_file_and_the_environment_wins(
    database: str, sql: Any, tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    lines = {
        **VARIABLES,
        "NEON_DATABASE_URL": database,
        "CORS_ORIGINS": "https://file.example",
        "PYTHONPATH": "nothing",
    }
    file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    environment = {"CORS_ORIGINS": "https://environment.example"}
    headers = {"Origin": "https://environment.example"}
    port = free_port()

    with start_server(port, environment, "--env-file", str(file)) as server:
        call = Api(through_http(port))
        response = call("POST", "/v1/todos", user="of-file", json={"title": "x"}, headers=headers)
        server.terminate()

    assert sql("SELECT title FROM todos WHERE user_id = 'of-file'") == [("x",)]
    assert response.headers["access-control-allow-origin"] == "https://environment.example"


@pytest.mark.slow
def test_the_embedded_postgresql_is_reached_without_libpqs_variables(tmp_path: Path) -> None:
    port = free_port()
    data = str(tmp_path / "rows")
    with start_server(port, {**VARIABLES, "NEON_DATABASE_URL": ""}, "--data", data) as server:
        response = Api(through_http(port))("GET", "/v1/todos", user="nobody")
        server.terminate()

    assert response.json() == {"items": [], "next_cursor": None}
