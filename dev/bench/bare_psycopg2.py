"""A Lambda handler written by hand, with psycopg2 and `json` only: the least that a request costs.

It connects, executes one statement, and dumps the rows. It checks nothing, so it is not to be
imitated: it is what the driver, TLS and the network cost by themselves.
"""

import json
import os
from typing import Any

import psycopg2

COLUMNS = "id::text, user_id, title, description, is_completed, created_at, updated_at"
INSERT = (
    "WITH recorded AS (INSERT INTO users (id) VALUES (%(user)s) ON CONFLICT DO NOTHING) "
    "INSERT INTO todos (user_id, title, description, is_completed) "
    f"VALUES (%(user)s, %(title)s, %(description)s, %(is_completed)s) RETURNING {COLUMNS}"
)
LIST = (
    f"SELECT {COLUMNS} FROM todos WHERE user_id = %(user)s "
    "ORDER BY created_at DESC, id DESC LIMIT 50"
)
SELECT = f"SELECT {COLUMNS} FROM todos WHERE user_id = %(user)s AND id = %(id)s"
DELETE = "DELETE FROM todos WHERE user_id = %(user)s AND id = %(id)s RETURNING id"
UPDATE = (
    "UPDATE todos SET {changes}, "
    "updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond') "
    f"WHERE user_id = %(user)s AND id = %(id)s RETURNING {COLUMNS}"
)


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Answer one event of an HTTP API."""
    method = event["requestContext"]["http"]["method"]
    todo_id = event["rawPath"].removeprefix("/v1/todos").lstrip("/")
    fields = json.loads(event["body"]) if event.get("body") else {}
    whole = {"description": None, "is_completed": False, **fields}
    parameters = {**whole, "user": event["headers"]["x-user-id"], "id": todo_id}
    match method, bool(todo_id):
        case "POST", _:
            status = 201
            statement = INSERT
        case "GET", False:
            status = 200
            statement = LIST
        case "GET", True:
            status = 200
            statement = SELECT
        case "DELETE", _:
            status = 204
            statement = DELETE
        case _:
            status = 200
            statement = UPDATE.format(changes=", ".join(f"{name} = %({name})s" for name in fields))
    todos = rows(statement, parameters)
    content = {"items": todos} if statement == LIST else todos[0]
    body = "" if status == 204 else json.dumps(content, default=str)
    return {"statusCode": status, "headers": {"content-type": "application/json"}, "body": body}


def rows(statement: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """Connect, and execute one statement."""
    connection = psycopg2.connect(os.environ["NEON_DATABASE_URL"])
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        names = [column.name for column in cursor.description or ()]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    connection.close()
    return found
