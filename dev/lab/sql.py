"""SQL without the API."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
from sqlmodel import SQLModel

from todo_api.database.isolation import owner_of, quoted


def run_sql(uri: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements on a new connection, and return the rows of the last."""
    with closing(psycopg2.connect(uri)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def changed_database(uri: str, change: str, *undo: str) -> Iterator[None]:
    """Run the statement `change`, and at the end of the `with` block the statements `undo`.

    They also run after a failure.
    """
    run_sql(uri, change)
    try:
        yield
    finally:
        run_sql(uri, *undo)


def rows_of(uri: str, user_id: str) -> list[tuple[Any, ...]]:
    """Return the rows of a user, each with its table."""
    queries = []
    for table in SQLModel.metadata.sorted_tables:
        owner = owner_of(table)
        if owner is not None:
            rows = f"SELECT '{table.name}', row::text FROM {quoted(table.name)} AS row"  # noqa: S608  # our own names
            queries.append(f"{rows} WHERE {quoted(owner)} = '{user_id}'")
    return run_sql(uri, " UNION ALL ".join(queries) + " ORDER BY 1, 2")
