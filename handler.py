"""Lambda entry point: API Gateway events in, responses out."""

import logging
from typing import Any

from mangum import Mangum

from todo_api.app import create_app

# Mangum's line for each request holds the raw path.
logging.getLogger("mangum").setLevel(logging.WARNING)

_mangum = Mangum(
    create_app(),
    lifespan="off",  # there is nothing to start or stop, and "auto" would try on every event
    # Anything else is sent as base64.
    text_mime_types=["text/", "application/json", "application/problem+json"],
)

# Mangum raises if the port in one of these is not a number
# (https://github.com/Kludex/mangum/issues/303), and the application reads neither.
_DROPPED_HEADERS = ("host", "x-forwarded-port")


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle one event of API Gateway or of a function URL."""
    for key in ("headers", "multiValueHeaders"):
        if headers := event.get(key):
            event[key] = {
                name: value
                for name, value in headers.items()
                if name.lower() not in _DROPPED_HEADERS
            }
    return _mangum(event, context)


def _prime() -> None:
    """Handle one event at the start, so that the first request is as fast as the others.

    It makes FastAPI build its routes, and AnyIO import its backend. The start has a whole CPU, a
    request only a share of one, and a SnapStart snapshot is taken after the start.

    Raises:
        RuntimeError: the event was not refused as an invalid request.
    """
    event = {
        "version": "2.0",
        "rawQueryString": "limit=0",  # invalid, so that the database is not needed
        "headers": {"x-user-id": "priming"},
        "requestContext": {
            "http": {"method": "GET", "path": "/v1/todos", "sourceIp": ""},
            "authorizer": {"jwt": {"claims": {"sub": "priming"}}},
        },
    }
    logger = logging.getLogger("todo_api")
    level = logger.level
    logger.setLevel(logging.ERROR)  # no line for a request that nobody has sent
    response = handler(event, None)
    logger.setLevel(level)
    if response["statusCode"] != 422:
        raise RuntimeError(f"Priming was answered {response['statusCode']} instead of 422.")


_prime()
