"""The connection strings that vendors and tools hand out.

What each gives in requests, in migrations and in the deploy, or the sentence that refuses it.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest.mock import Mock

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from deploy import runtime_login
from deploy.login_check import create_login
from deploy.login_roles import LoginError, Roles
from migrations import __main__ as migrations
from tests.support.http.apps import app_with
from todo_api.database.url import libpq_url
from todo_api.settings import Settings, SettingsError

ENDPOINT = "ep-cool-darkness-a1b2c3d4"
DIRECT = f"{ENDPOINT}.eu-central-1.aws.neon.tech"
POOLED = f"{ENDPOINT}-pooler.eu-central-1.aws.neon.tech"
HEROKU = "ec2-52-0-0-1.compute-1.amazonaws.com"
SUPABASE = "aws-0-eu-central-1.pooler.supabase.com"
OWNER = "neondb_owner:npg_s3cr3t"
NEON = f"postgresql://{OWNER}@{POOLED}/neondb"
NEON_DIRECT = f"postgresql://{OWNER}@{DIRECT}/neondb"


class Shape(NamedTuple):
    """A connection string that is accepted, and libpq's parameters that it gives."""

    url: str
    of_requests: dict[str, str]
    of_the_owner: dict[str, str]
    """Those that differ in migrations, and in the owner's sessions of a deploy."""


SECRET = {"password": "npg_s3cr3t"}
ON_POOLED = SECRET | {"host": POOLED}
ON_DIRECT = SECRET | {"host": DIRECT}
REQUIRE = {"sslmode": "require"}
BOUND = REQUIRE | {"channel_binding": "require"}
TO_DIRECT = {"host": DIRECT}
SHAPES = {
    "Neon's console": Shape(
        f"{NEON}?sslmode=require&channel_binding=require", ON_POOLED | BOUND, TO_DIRECT
    ),
    "Neon's console, not pooled": Shape(
        f"{NEON_DIRECT}?sslmode=require&channel_binding=require", ON_DIRECT | BOUND, {}
    ),
    "Neon's console, before 2025": Shape(f"{NEON}?sslmode=require", ON_POOLED | REQUIRE, TO_DIRECT),
    "Neon's console, with a line break": Shape(
        f"{NEON}?sslmode=require\n", ON_POOLED | REQUIRE, TO_DIRECT
    ),
    "Neon's for a client without SNI": Shape(
        f"{NEON}?sslmode=require&options=endpoint%3D{ENDPOINT}-pooler",
        ON_POOLED | REQUIRE | {"options": f"endpoint={ENDPOINT}-pooler"},
        TO_DIRECT | {"options": f"endpoint={ENDPOINT}"},
    ),
    "Neon's for SQLAlchemy": Shape(
        f"postgresql+psycopg2://{OWNER}@{POOLED}/neondb?sslmode=require&channel_binding=require",
        ON_POOLED | BOUND,
        TO_DIRECT,
    ),
    "Vercel's POSTGRES_URL": Shape(
        f"postgres://{OWNER}@{POOLED}/neondb?sslmode=require", ON_POOLED | REQUIRE, TO_DIRECT
    ),
    "Vercel's POSTGRES_URL_NON_POOLING": Shape(
        f"postgres://{OWNER}@{DIRECT}/neondb?sslmode=require", ON_DIRECT | REQUIRE, {}
    ),
    "Vercel's POSTGRES_URL_NO_SSL": Shape(
        f"postgres://{OWNER}@{POOLED}/neondb", ON_POOLED, TO_DIRECT
    ),
    "Vercel's POSTGRES_PRISMA_URL": Shape(
        f"postgres://{OWNER}@{POOLED}/neondb?connect_timeout=15&sslmode=require",
        ON_POOLED | REQUIRE | {"connect_timeout": "15"},
        TO_DIRECT,
    ),
    "Netlify's NETLIFY_DATABASE_URL": Shape(
        f"{NEON}?channel_binding=require&sslmode=require", ON_POOLED | BOUND, TO_DIRECT
    ),
    "Netlify's NETLIFY_DATABASE_URL_UNPOOLED": Shape(
        f"{NEON_DIRECT}?channel_binding=require&sslmode=require", ON_DIRECT | BOUND, {}
    ),
    # https://github.com/neondatabase/neonctl/blob/main/src/commands/connection_string.ts
    "neonctl connection-string": Shape(
        f"{NEON_DIRECT}?sslmode=require&channel_binding=require", ON_DIRECT | BOUND, {}
    ),
    "neonctl connection-string --pooled": Shape(
        f"{NEON}?sslmode=require&channel_binding=require", ON_POOLED | BOUND, TO_DIRECT
    ),
    "neonctl connection-string --prisma": Shape(
        f"{NEON_DIRECT}?connect_timeout=30&sslmode=require&channel_binding=require",
        ON_DIRECT | BOUND | {"connect_timeout": "30"},
        {},
    ),
    "Heroku's DATABASE_URL": Shape(
        f"postgres://{OWNER}@{HEROKU}:5432/d1a2b3", SECRET | {"host": HEROKU, "port": "5432"}, {}
    ),
    "Supabase's pooler": Shape(
        f"postgresql://postgres.abcdefghij:npg_s3cr3t@{SUPABASE}:6543/postgres",
        SECRET | {"host": SUPABASE, "port": "6543", "user": "postgres.abcdefghij"},
        {},
    ),
}

FOR_PRISMA = {
    "Vercel's POSTGRES_PRISMA_URL, before 2024": (
        f"postgres://{OWNER}@{POOLED}/neondb?pgbouncer=true&connect_timeout=15&sslmode=require",
        "pgbouncer",
    ),
    "neonctl connection-string --pooled --prisma": (
        f"{NEON}?connect_timeout=30&pool_timeout=30&pgbouncer=true"
        "&sslmode=require&channel_binding=require",
        "pool_timeout",
    ),
    "Prisma's schema": (f"{NEON}?schema=public", "schema"),
    "Prisma's pool_timeout": (f"{NEON}?sslmode=require&pool_timeout=20", "pool_timeout"),
    "Prisma's connection_limit": (f"{NEON}?sslmode=require&connection_limit=1", "connection_limit"),
    "Supabase's for Prisma": (
        f"postgresql://postgres.abcdefghij:npg_s3cr3t@{SUPABASE}:6543/postgres?pgbouncer=true",
        "pgbouncer",
    ),
}
"""URLs with a parameter that is not libpq's, and the first such parameter."""

OTHERS = {
    "Neon's for psql": f"psql '{NEON}?sslmode=require'",
    "Neon's for Java": f"jdbc:{NEON}?sslmode=require",
    "with the variable's name": f"DATABASE_URL={NEON}?sslmode=require",
    "in quotation marks": f"'{NEON}?sslmode=require'",
}

SCHEMES = "must start with postgresql://, postgres:// or postgresql+psycopg2://"


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The parameters of each attempt to connect, none of which succeeds."""
    attempts: list[dict[str, Any]] = []

    def connect(url: str, **options: Any) -> None:
        attempts.append(parse_dsn(url) | options)
        raise psycopg2.OperationalError("no certificate")  # so that nobody tries again

    monkeypatch.setattr(psycopg2, "connect", connect)
    return attempts


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that puts the URL into the environment."""
    monkeypatch.delenv("NEON_DATABASE_URL_PARAMETER", raising=False)
    monkeypatch.setattr(sys, "argv", ["command"])
    return lambda url: monkeypatch.setenv("NEON_DATABASE_URL", url)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_shape_gives_the_parameters_of_requests_migrations_and_deploy(
    given: Callable[[str], None],
    connected: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    shape: Shape,
) -> None:
    given(shape.url)
    of_the_owner = shape.of_requests | shape.of_the_owner

    app_with()("GET", "/v1/todos", user="x")
    assert shape.of_requests.items() <= connected[0].items()

    connected.clear()
    with pytest.raises(SystemExit):
        migrations.main()
    assert of_the_owner.items() <= connected[0].items()

    connected.clear()
    monkeypatch.setattr(sys, "argv", ["command", "dev"])
    with pytest.raises(SystemExit):
        runtime_login.main()
    assert of_the_owner.items() <= connected[0].items()

    connected.clear()
    roles = Mock(spec=Roles, **{"new_name.return_value": "new", "differences.return_value": []})
    with pytest.raises(LoginError):
        create_login(roles, libpq_url(shape.url))
    tried = connected[0]
    new_login = {"user": "new", "password": tried["password"]}
    assert (shape.of_requests | new_login).items() <= tried.items()


@pytest.mark.parametrize(
    "url", [*(url for url, _ in FOR_PRISMA.values()), *OTHERS.values()], ids=[*FOR_PRISMA, *OTHERS]
)
def test_a_shape_that_libpq_does_not_read_is_refused_alike_before_anything_connects(
    given: Callable[[str], None],
    connected: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    url: str,
) -> None:
    given(url)
    reason = reason_of_refusal(url)
    not_usable = f"The environment variable NEON_DATABASE_URL is not usable: {reason}."

    with pytest.raises(SettingsError) as at_start:
        Settings.from_environment()
    assert str(at_start.value) == not_usable

    with pytest.raises(SystemExit) as migrating:
        migrations.main()
    assert str(migrating.value) == not_usable

    monkeypatch.setattr(sys, "argv", ["command", "dev"])
    with pytest.raises(SystemExit) as deploying:
        runtime_login.main()
    assert str(deploying.value) == f"The owner's connection string {reason}. Nothing was changed."

    assert connected == []


def reason_of_refusal(url: str) -> str:
    """Return why this is no URL for us. It does not repeat what may be a secret."""
    with pytest.raises(ValueError, match=r"must start with|libpq") as refused:
        libpq_url(url)
    reason = str(refused.value)
    assert not [part for part in ("s3cr3t", ENDPOINT, SUPABASE) if part in reason]
    return reason


@pytest.mark.parametrize(("url", "parameter"), FOR_PRISMA.values(), ids=FOR_PRISMA)
def test_the_sentence_names_the_parameter_that_is_not_libpqs(url: str, parameter: str) -> None:
    assert reason_of_refusal(url) == f"has a parameter that libpq does not know: {parameter}"


@pytest.mark.parametrize("url", OTHERS.values(), ids=OTHERS)
def test_a_snippet_around_the_url_is_refused_by_its_beginning(url: str) -> None:
    assert reason_of_refusal(url) == SCHEMES
