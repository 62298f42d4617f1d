"""The local server's settings from `.env`, and uvicorn without the local server."""

import re
import subprocess

import pytest

from dev import ROOT
from dev.ports import free_port
from tests.support.http.clients import Api, through_http
from tests.support.http.servers import start_server
from todo_api.settings import Settings

EXAMPLE = (ROOT / ".env.example").read_text()


def test_make_run_reads_the_env_file_of_the_clone() -> None:
    command = ["/bin/sh", "-c", "make --no-print-directory --dry-run run"]
    commands = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert commands.stdout.splitlines()[-1].endswith(
        "python -m dev.serve --port 8000 --env-file .env"
    )


def test_env_example_lists_every_setting_of_make_run_with_a_valid_value_and_sets_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert [line for line in EXAMPLE.splitlines() if line and not line.startswith("# ")] == []
    values = dict(re.findall(r"^# ([A-Z_]+)=(.+)$", EXAMPLE, re.MULTILINE))
    settings_of_make_run = [name.upper() for name in Settings.model_fields]
    settings_of_make_run.remove("NEON_DATABASE_URL_PARAMETER")
    assert list(values) == settings_of_make_run
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_environment()
    for name in ("identity_source", "log_level", "database_timeout_seconds"):
        assert getattr(settings, name) == Settings.model_fields[name].default


def test_uvicorn_serves_the_application_factory(database: str) -> None:
    port = free_port()
    with start_server(
        port,
        {"NEON_DATABASE_URL": database},
        "--factory",
        "todo_api.app:create_app",
        module="uvicorn",
    ) as server:
        response = Api(through_http(port))(
            "POST", "/v1/todos", user="uvicorn", json={"title": "Buy milk"}
        )
        server.terminate()
    assert response.status == 201
