"""The list with AWS's Powertools for Lambda and psycopg2, without a check of what is sent."""

import json
from functools import partial
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver

from dev.bench.bare_psycopg2 import LIST, rows

app = APIGatewayHttpResolver(serializer=partial(json.dumps, default=str))


@app.get("/v1/todos")
def list_todos() -> dict[str, Any]:
    """List the newest todos of the caller."""
    return {"items": rows(LIST, {"user": app.current_event.headers["x-user-id"]})}


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one event of an HTTP API."""
    return app.resolve(event, context)
