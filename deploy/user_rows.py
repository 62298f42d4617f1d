"""Export, erase or restore all rows of one user, in the database that `NEON_DATABASE_URL` names.

The models say which tables have an owner, so a new table needs no change here.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
from psycopg2 import extensions
from psycopg2.sql import SQL, Composed, Identifier
from pydantic import TypeAdapter, ValidationError

from migrations.__main__ import revision_chain
from migrations.owner import answer_within, connect_on_system_path, direct_url
from todo_api.database.errors import DatabaseUnavailable
from todo_api.database.isolation import SCHEMA, TableIsolation, quoted, table_isolations
from todo_api.database.parameter_store import url_reader
from todo_api.settings import Settings, SettingsError

TIMEOUT_SECONDS = 120

EXPORT_SQL = """
SELECT coalesce(json_agg(owned), '[]')::text FROM {table} AS owned WHERE {owner} = %s
"""
DELETE_SQL = "DELETE FROM {table} WHERE {owner} = %s"
INSERT_SQL = """
INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
SELECT {columns} FROM json_populate_recordset(NULL::{table}, %s::json -> %s) WHERE {owner} = %s
ON CONFLICT DO NOTHING
"""
# Those that an INSERT can name.
COLUMNS_SQL = """
SELECT attname FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""

EXPORT = TypeAdapter(dict[str, list[dict[str, Any]]])
"""The rows of each table, by its name."""


class UserRowsError(Exception):
    """The command cannot be run; the message says why."""


def export_rows(url: str, user_id: str) -> str:
    """Return all rows of a user as JSON: a list for each table."""
    members = []
    with _transaction(url) as cursor:
        for table in _owned_tables():
            cursor.execute(_statement(EXPORT_SQL, table), [user_id])
            ((rows,),) = cursor.fetchall()
            # PostgreSQL's own text: parsing it here would round numbers.
            members.append(f"{json.dumps(table.name)}: {rows}")
    return "{" + ",\n".join(members) + "}"


def erase_rows(url: str, user_id: str) -> dict[str, int]:
    """Delete all rows of a user. Returns how many, by table."""
    deleted = {}
    with _transaction(url) as cursor:
        for table in reversed(_owned_tables()):
            cursor.execute(_statement(DELETE_SQL, table), [user_id])
            if cursor.rowcount:
                deleted[table.name] = cursor.rowcount
    return deleted


def restore_rows(url: str, user_id: str, exported: str) -> dict[str, int]:
    """Insert the rows of an export that are missing. Returns how many, by table.

    A row that is there stays as it is. So does one with a unique value that the export's row has.

    Raises:
        UserRowsError: it is not an export, is another user's, or has rows of an unknown table.
    """
    try:
        rows_of_tables = EXPORT.validate_json(exported)
    except ValidationError as error:
        raise UserRowsError(f"The input is not an export: {error.errors()[0]['msg']}.") from None
    tables = _owned_tables()
    unknown = rows_of_tables.keys() - {table.name for table in tables}
    if unknown:
        names = ", ".join(sorted(unknown))
        raise UserRowsError(f"The export has tables that this code does not have: {names}.")
    owners = {
        row.get(str(table.owner)) for table in tables for row in rows_of_tables.get(table.name, [])
    }
    if owners and user_id not in owners:
        raise UserRowsError(f"The export is another user's: it has no row of {user_id}.")
    inserted = {}
    with _transaction(url) as cursor:
        for table in tables:
            rows = rows_of_tables.get(table.name)
            if not rows:
                continue
            # A column that is newer than the export gets its default.
            columns = [name for name in _columns(cursor, table) if name in rows[0]]
            statement = _statement(INSERT_SQL, table, columns)
            cursor.execute(statement, [exported, table.name, user_id])
            if cursor.rowcount:
                inserted[table.name] = cursor.rowcount
    return inserted


@contextmanager
def _transaction(url: str) -> Iterator[extensions.cursor]:
    """Begin a transaction that sees all tables as of one moment, and commit it at the end."""
    direct = direct_url(url)
    with (
        closing(connect_on_system_path(direct)) as connection,
        answer_within(TIMEOUT_SECONDS, direct, "the statements"),
    ):
        connection.set_session(isolation_level="REPEATABLE READ")
        with connection, connection.cursor() as cursor:
            # A role that row-level security applies to then gets an error, and not fewer rows.
            cursor.execute("SET LOCAL row_security = off")
            _check_revision(cursor)
            yield cursor


def _check_revision(cursor: extensions.cursor) -> None:
    """Refuse a database that may have other tables than the models."""
    table = Identifier(SCHEMA, "alembic_version")
    cursor.execute(SQL("SELECT version_num FROM {}").format(table))
    revision = cursor.fetchone()
    newest = revision_chain()[-1]
    if revision != (newest,):
        at = "no revision" if revision is None else f"revision {revision[0]}"
        raise UserRowsError(
            f"The database is at {at}, and this code at {newest}: check out the release that has "
            "migrated it."
        )


def _owned_tables() -> list[TableIsolation]:
    """Return the tables with an owner, each after those that it refers to."""
    return [table for table in table_isolations() if table.owner is not None]


def _columns(cursor: extensions.cursor, table: TableIsolation) -> list[str]:
    cursor.execute(COLUMNS_SQL, [f"{SCHEMA}.{quoted(table.name)}"])
    return [name for (name,) in cursor.fetchall()]


def _statement(sql: str, table: TableIsolation, columns: list[str] | None = None) -> Composed:
    return SQL(sql).format(
        table=Identifier(SCHEMA, table.name),
        owner=Identifier(str(table.owner)),
        columns=SQL(", ").join(map(Identifier, columns or [])),
    )


def _counts(numbers: dict[str, int]) -> str:
    return ", ".join(f"{number} of {name}" for name, number in numbers.items()) or "nothing"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m deploy.user_rows", description=__doc__)
    parser.add_argument(
        "command",
        choices=["export", "erase", "restore"],
        help="write the rows as JSON; delete them; read such JSON and insert what is missing",
    )
    parser.add_argument("user_id")
    arguments = parser.parse_args()
    user_id = arguments.user_id
    try:
        settings = Settings.from_environment()
        url = url_reader(settings.neon_database_url, settings.neon_database_url_parameter)()
        match arguments.command:
            case "export":
                exported = export_rows(url, user_id)
                numbers = {name: len(rows) for name, rows in json.loads(exported).items() if rows}
                print(exported)
                print("Exported:", _counts(numbers), file=sys.stderr)
            case "erase":
                print("Deleted:", _counts(erase_rows(url, user_id)))
            case "restore":
                print("Inserted:", _counts(restore_rows(url, user_id, sys.stdin.read())))
    except (SettingsError, DatabaseUnavailable, UserRowsError, psycopg2.Error) as error:
        sys.exit(str(error).strip())


if __name__ == "__main__":
    main()
