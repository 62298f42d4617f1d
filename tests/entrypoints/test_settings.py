"""The settings from the environment: valid values, and errors that do not show the value."""

import os
import subprocess
import sys
import traceback

import pytest

from dev import ROOT
from todo_api.settings import Settings, SettingsError

URL = "postgresql://todo:s3cr3t@ep-a-pooler.eu-central-1.aws.neon.tech/todo?sslmode=require&channel_binding=require"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NEON_DATABASE_URL", URL)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_each_usual_scheme_gives_the_same_url_with_its_query(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("NEON_DATABASE_URL", URL.replace("postgresql", scheme))
    assert Settings.from_environment().neon_database_url == URL


def test_cors_origins_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", " https://app.example, http://localhost:3000 ,")
    assert Settings.from_environment().cors_origins == (
        "https://app.example",
        "http://localhost:3000",
    )


@pytest.mark.parametrize(
    "origin",
    [
        "capacitor://localhost",
        "ionic://localhost",
        "tauri://localhost",
        "chrome-extension://aapbdbdomjkkjkaonfhkkikfgjllcleb",
        "moz-extension://5ea0f5a6-3b1c-4f0e-9a55-3c1f6b7d2f10",
        "https://a.example:80",
        "http://[::1]:443",
    ],
)
def test_origins_of_app_shells_and_extensions_are_accepted(
    monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    monkeypatch.setenv("CORS_ORIGINS", origin)
    assert Settings.from_environment().cors_origins == (origin,)


SCHEMES = "must start with postgresql://, postgres:// or postgresql+psycopg2://"
ENCODE = "percent-encode the password"
UNREADABLE = "is not a URL that libpq can read"
PERCENT = "has a % that is not percent-encoded: write %25 in the password"
MALFORMED = [
    ("NEON_DATABASE_URL", "mysql://u:s3cr3t@h/d", SCHEMES),
    ("NEON_DATABASE_URL", "postgresql+psycopg://h/s3cr3t", SCHEMES),
    (
        "NEON_DATABASE_URL",
        "postgresql://u:s3cr3t@h/d?nonsense=s3cr3t",
        "has a parameter that libpq does not know: nonsense",
    ),
    ("NEON_DATABASE_URL", "postgresql://u:p/s3cr3t?more=1@h/d", UNREADABLE),
    ("NEON_DATABASE_URL", "postgresql://u:p?s3cr3t=1@[::1/d", UNREADABLE),
    ("NEON_DATABASE_URL", "postgresql://u:s3cr3t@h/d?sslmode", UNREADABLE),
    ("NEON_DATABASE_URL", "postgresql://u:%zzs3cr3t@h/d", PERCENT),
    ("NEON_DATABASE_URL", "postgresql://u:s3cr3t%@h/d", PERCENT),
    ("NEON_DATABASE_URL", "postgresql://u:s3cr3t@/d", "must name a host and a database"),
    ("NEON_DATABASE_URL", "postgresql://u:s3cr3t@h", "must name a host and a database"),
    *(
        (
            "NEON_DATABASE_URL",
            f"postgresql://u:{password}@h/d",
            f"has a wrong host, port or database: {ENCODE}",
        )
        for password in ["s3cr3t@t41l", "s3cr3t/t41l", "12/s3cr3t", "s3cr3t@/t41l", "/s3cr3t"]
    ),
    ("IDENTITY_SOURCE", "s3cr3t", "Input should be 'header' or 'authorizer'"),
    *(
        (
            "CORS_ORIGINS",
            value,
            "must list origins such as https://app.example, separated by commas",
        )
        for value in [
            "*",
            "null",
            "s3cr3t",
            "https://s3cr3t/",
            "https://*.a",
            "https://S3cr3t",
            "https://a;https://b",
            "ftp://a",
            "https://u@a",
            "https://a:x",
            "https://a b",
            "javascript:alert(1)",
            "javascript://a",
            "data://a",
            "file://",
            "wss://a",
            "capacitor://",
            "capacitor://localhost/s3cr3t",
            "tauri://u@localhost",
        ]
    ),
    *(
        ("CORS_ORIGINS", value, "must leave out :443 of https and :80 of http, as browsers do")
        for value in ["https://s3cr3t:443", "http://s3cr3t:80", "https://a,https://[::1]:443"]
    ),
    ("LOG_LEVEL", "s3cr3t", "Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
    (
        "DATABASE_TIMEOUT_SECONDS",
        "s3cr3t",
        "Input should be a valid number, unable to parse string as a number",
    ),
    ("DATABASE_TIMEOUT_SECONDS", "0", "Input should be greater than or equal to 0.1"),
    ("DATABASE_TIMEOUT_SECONDS", "26", "Input should be less than or equal to 25"),
    ("DATABASE_TIMEOUT_SECONDS", "nan", "Input should be less than or equal to 25"),
]


@pytest.mark.parametrize(("name", "value", "reason"), MALFORMED)
def test_malformed_value_raises_an_error_with_the_name_but_not_the_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    """Nor has its traceback, with the library's own error."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        Settings.from_environment()
    assert str(raised.value) == f"The environment variable {name} is not usable: {reason}."
    library_error = raised.value.__context__
    assert library_error is not None
    text = "".join(traceback.format_exception(library_error))
    assert "s3cr3t" not in text


def test_a_url_together_with_the_name_of_a_parameter_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NEON_DATABASE_URL_PARAMETER", "/a/name")
    with pytest.raises(SettingsError, match="are both set"):
        Settings.from_environment()


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_url_is_an_error(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("NEON_DATABASE_URL")
    if value is not None:
        monkeypatch.setenv("NEON_DATABASE_URL", value)
    with pytest.raises(SettingsError, match="NEON_DATABASE_URL is not set"):
        Settings.from_environment()


def test_importing_the_handler_without_settings_fails_with_this_error() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "NEON_DATABASE_URL"}
    command = [sys.executable, "-c", "import handler"]
    outcome = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 1
    message = "The environment is not usable: NEON_DATABASE_URL is not set."
    assert outcome.stderr.splitlines()[-1] == f"todo_api.settings.SettingsError: {message}"


def test_printed_settings_do_not_show_the_url() -> None:
    assert "s3cr3t" not in repr(Settings.from_environment())
    assert "neon.tech" not in f"{Settings.from_environment()}"
