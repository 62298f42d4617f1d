"""Migrations: equal to the models, reversible, and one at a time."""

import subprocess
import sys
from collections.abc import Callable
from urllib.parse import quote

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn
from sqlalchemy import create_engine

from dev import ROOT
from dev.postgres import wheel_binaries
from migrations.__main__ import migrate
from migrations.owner import direct_url
from tests.support.postgres.statements import FUNCTIONS
from todo_api.models.tables import Todo


def _schema(uri: str, *options: str) -> str:
    """Dump the schema of a database."""
    options = (
        "--schema-only",
        "--no-owner",
        "--no-privileges",
        "--exclude-table=alembic_version",
        *options,
    )
    command = [str(wheel_binaries() / "pg_dump"), *options, uri]
    dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # These lines contain a random key.
    return "\n".join(
        line for line in dump.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))
    )


def test_the_migrated_schema_equals_the_models(
    migrated: str, new_database: Callable[[], str]
) -> None:
    created = new_database()
    engine = create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(created))
    Todo.metadata.create_all(engine)
    engine.dispose()
    assert "CREATE TABLE public.todos" in _schema(migrated)
    in_database = _definitions(migrated)
    in_models = _definitions(created)
    assert in_database - in_models == set()
    assert in_models - in_database == set()


def _definitions(uri: str) -> set[str]:
    """Return each line that defines an object, in any order, with the object's name before it.

    A revision adds columns at the end, wherever the model has them.
    """
    _, *objects = _schema(uri, "--no-policies").split("\n-- Name: ")
    found = set()
    for definition in objects:
        # A comment, `total(); Type: FUNCTION; Schema: public; Owner: -`, and the statements.
        comment, *lines = definition.splitlines()
        name, kind, _ = comment.split("; ", 2)
        if kind == "Type: FUNCTION" and name.partition("(")[0] in FUNCTIONS:
            continue
        found |= {f"{name}, {kind}: {line.rstrip(',')}" for line in lines if line.strip("-")}
    return found


def test_migrations_can_be_reverted_and_applied_again(new_database: Callable[[], str]) -> None:
    uri = new_database()
    empty = _schema(uri)
    migrate(uri)
    full = _schema(uri)
    migrate(uri, "base")
    assert _schema(uri) == empty
    migrate(uri)
    assert _schema(uri) == full


@pytest.mark.parametrize(
    ("given", "host"),
    [
        (
            "ep-cool-name-a1b2c3d4-pooler.eu-central-1.aws.neon.tech",
            "ep-cool-name-a1b2c3d4.eu-central-1.aws.neon.tech",
        ),
        (
            "ep-cool-name-a1b2c3d4.eu-central-1.aws.neon.tech",
            "ep-cool-name-a1b2c3d4.eu-central-1.aws.neon.tech",
        ),
        ("127.0.0.1", "127.0.0.1"),
        ("my-pooler.example-pooler.org", "my.example-pooler.org"),
        ("a-pooler.example.org,b-pooler.example.org", "a.example.org,b.example.org"),
    ],
)
def test_direct_url_removes_the_pooler_suffix_and_nothing_else(given: str, host: str) -> None:
    uri = f"postgresql://u:p%40ss@{given}/db?sslmode=require&channel_binding=require"
    assert parse_dsn(direct_url(uri)) == parse_dsn(uri) | {"host": host}


@pytest.mark.parametrize(
    ("given", "direct"),
    [
        ("endpoint=ep-x-pooler", "endpoint=ep-x"),
        ("project=ep-x-pooler", "project=ep-x"),
        (
            "-c geqo=off endpoint=ep-x-pooler -c work_mem=64MB",
            "-c geqo=off endpoint=ep-x -c work_mem=64MB",
        ),
        ("endpoint=ep-x", "endpoint=ep-x"),
        ("-c application_name=my-pooler", "-c application_name=my-pooler"),
    ],
)
def test_direct_url_names_the_same_endpoint_in_the_options(given: str, direct: str) -> None:
    uri = f"postgresql://u:p@ep-x-pooler.eu-central-1.aws.neon.tech/db?options={quote(given)}"
    parts = parse_dsn(direct_url(uri))
    assert parts["host"] == "ep-x.eu-central-1.aws.neon.tech"
    assert parts["options"] == direct


def test_migrating_without_a_url_prints_one_sentence() -> None:
    command = [sys.executable, "-m", "migrations"]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 1
    message = "The environment is not usable: NEON_DATABASE_URL is not set.\n"
    assert outcome.stderr == message
