"""The application: wires settings, database, routes and middleware."""

import logging
from functools import cache

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.routing import APIRoute
from starlette.middleware import Middleware

from todo_api.api import docs, health, openapi, todos
from todo_api.api.handlers import EXCEPTION_HANDLERS
from todo_api.api.middleware import RequestMiddleware
from todo_api.database.engine import Database
from todo_api.database.parameter_store import url_reader
from todo_api.settings import Settings

# CORS: the headers that scripts of other origins may send and read.
REQUEST_HEADERS = [
    "Content-Type",
    "X-User-Id",
    "Authorization",
    "If-Match",
    "If-None-Match",
    "Idempotency-Key",
    "X-Request-Id",
    # Tracing: OpenTelemetry (W3C Trace Context and Baggage) and Sentry.
    "traceparent",
    "tracestate",
    "baggage",
    "sentry-trace",
]
RESPONSE_HEADERS = ["ETag", "Location", "X-Request-Id", "Retry-After", "Idempotency-Replayed"]

logger = logging.getLogger("todo_api")


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application, with settings from the environment if none are given.

    It contains the engine and the Parameter Store client, so that a SnapStart snapshot does too.
    Nothing connects.

    Raises:
        SettingsError: an environment variable is missing or invalid.
    """
    settings = settings or Settings.from_environment()
    logger.setLevel(settings.log_level)
    app = FastAPI(
        title="Todo API",
        version="1",
        description=openapi.DESCRIPTION,
        openapi_tags=[todos.TAG, health.TAG],
        servers=openapi.SERVERS,
        license_info=openapi.LICENSE,
        openapi_url=None,  # see docs.py
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
                allow_headers=REQUEST_HEADERS,
                expose_headers=RESPONSE_HEADERS,
                max_age=600,
            ),
            Middleware(RequestMiddleware),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
    )
    app.state.settings = settings
    read_url = url_reader(settings.neon_database_url, settings.neon_database_url_parameter)
    app.state.database = Database(read_url)
    app.include_router(todos.router)
    app.include_router(health.router)
    app.include_router(docs.router)
    # FastAPI's documented way to change the document.
    document = cache(lambda: openapi.document(app, settings.identity_source))
    app.openapi = document  # type: ignore[method-assign]
    return app


def _operation_id(route: APIRoute) -> str:
    """Return the function's name in camel case: `createTodo`."""
    first, *others = route.name.split("_")
    return first + "".join(map(str.title, others))
