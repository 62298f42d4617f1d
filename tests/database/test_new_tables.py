"""Tables that are new in the models: a migration isolates them without being told more."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy.schema import CreateTable
from sqlmodel import SQLModel

from dev.lab.sql import run_sql
from migrations.__main__ import migrate
from tests.support.http.apps import ready_status
from tests.support.postgres.damages import Change
from tests.support.postgres.revisions import NOTHING_TO_DO
from todo_api.database.isolation import DIALECT


@pytest.fixture
def new_table() -> Iterator[Callable[..., sa.Table]]:
    """Add a table to the models, until the test ends."""
    tables: list[sa.Table] = []

    def add(name: str, *columns: sa.Column[Any], **info: object) -> sa.Table:
        tables.append(sa.Table(name, SQLModel.metadata, *columns, info=info))
        return tables[-1]

    yield add
    for table in tables:
        SQLModel.metadata.remove(table)


def _create(table: sa.Table) -> str:
    return str(CreateTable(table).compile(dialect=DIALECT))


def test_a_new_table_is_isolated_whatever_its_names_are(
    change: Change, new_table: Callable[..., sa.Table]
) -> None:
    table = new_table(
        "Shopping list",
        sa.Column("the owner", sa.Text, primary_key=True),
        sa.Column("order", sa.Integer, sa.Identity()),
        sa.Column("Name", sa.Text),
        owner="the owner",
        rights=["SELECT", 'INSERT ("the owner")', 'UPDATE ("order")', 'UPDATE ("Name")'],
    )
    uri = change([_create(table)])

    said = migrate(uri)

    assert "row-level security is off on Shopping list" in said
    assert ready_status(uri) == 200
    assert migrate(uri) == NOTHING_TO_DO
    as_alice = ["SET ROLE todo_app", "SET app.user_id = 'alice'"]
    insert = """INSERT INTO "Shopping list" ("the owner") VALUES ('{}') RETURNING "order" """
    assert run_sql(uri, *as_alice, insert.format("alice")) == [(1,)]
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        run_sql(uri, *as_alice, insert.format("bob"))


def test_a_downgrade_grants_nothing_on_a_column_that_is_not_there(
    change: Change, new_table: Callable[..., sa.Table]
) -> None:
    table = new_table(
        "remarks",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("later", sa.Text),
        owner="user_id",
        rights=["INSERT (user_id)", "INSERT (later)"],
    )
    uri = change([_create(table), "ALTER TABLE remarks DROP COLUMN later"])

    migrate(uri, "0003")

    assert migrate(uri, "0003") == "Nothing to do: the database is at revision 0003."
    assert (
        run_sql(
            uri,
            "SET ROLE todo_app",
            "SET app.user_id = 'alice'",
            "INSERT INTO remarks VALUES ('alice')",
        )
        == []
    )


def test_a_shared_table_can_be_read_by_the_release_that_knows_it(
    change: Change, new_table: Callable[..., sa.Table]
) -> None:
    table = new_table("plans", sa.Column("id", sa.Text, primary_key=True), shared=True)
    uri = change(
        [
            _create(table),
            "ALTER TABLE plans ENABLE ROW LEVEL SECURITY",
            "GRANT ALL ON plans TO PUBLIC",
        ]
    )

    said = migrate(uri)

    assert "row-level security is on on plans" in said
    assert ready_status(uri) == 200
    assert run_sql(uri, "SET ROLE todo_app", "SELECT * FROM plans") == []
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        run_sql(uri, "SET ROLE todo_app", "INSERT INTO plans VALUES ('free')")

    SQLModel.metadata.remove(table)
    assert ready_status(uri) == 503
    run_sql(uri, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(CommandError, match=r"run: REVOKE ALL ON public\.plans FROM todo_app"):
        migrate(uri)
