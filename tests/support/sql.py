"""SQL without the API."""

from typing import Any

import psycopg2


def run_sql(uri: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements on a new connection, and return the rows of the last."""
    connection = psycopg2.connect(uri)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        rows = cursor.fetchall() if cursor.description else []
    connection.close()
    return rows
