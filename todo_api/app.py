"""The application: settings, database, routes and middleware put together."""

import logging
import re
import time
from functools import cache
from uuid import uuid4

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from todo_api import openapi, problems, routes
from todo_api.credentials import uri_reader
from todo_api.database import Database
from todo_api.repository import PREAMBLE
from todo_api.settings import Settings

# What scripts of other origins may send and read.
REQUEST_HEADERS = [
    "Content-Type",
    "X-User-Id",
    "Authorization",
    "If-Match",
    "If-None-Match",
    "Idempotency-Key",
    "X-Request-Id",
]
RESPONSE_HEADERS = ["ETag", "Location", "X-Request-Id", "Retry-After", "Idempotency-Replayed"]

logger = logging.getLogger("todo_api")


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application, from the environment unless settings are given. Nothing connects yet.

    The engine and the Parameter Store client are built here, so that a SnapStart snapshot holds them.

    Raises:
        SettingsError: the environment does not describe a service that can start.
    """
    settings = settings or Settings.from_environment()
    logger.setLevel(settings.log_level)
    app = FastAPI(
        title="Todo API",
        version="1",
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        servers=openapi.SERVERS,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        # The last of two equal keys counts. Relative, so that /docs finds it behind a stage and a mapping too.
        swagger_ui_parameters={"url": "openapi.json", "persistAuthorization": True},
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
        # The framework has handlers of its own for these two; all other exceptions reach RequestMiddleware.
        exception_handlers={RequestValidationError: problems.problem_handler, HTTPException: problems.problem_handler},
    )
    app.state.settings = settings
    app.state.database = Database(uri_reader(settings), PREAMBLE)
    app.include_router(routes.router)
    app.include_router(routes.probes)
    app.openapi = cache(lambda: openapi.document(app, settings.identity_source))  # type: ignore[method-assign]  # FastAPI's documented way
    return app


def _operation_id(route: APIRoute) -> str:
    """The name of the function in camel case: `createTodo`."""
    first, *others = route.name.split("_")
    return first + "".join(map(str.title, others))


class RequestMiddleware:
    """Gives each request an id, its response the common headers, and the log one line.

    It stands inside the CORS middleware, so that a browser can read the 500 for an unforeseen exception, which
    Starlette itself would answer outside of it. A preflight ends before it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI 3)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = _request_id(scope)
        status = 0
        is_head = scope["method"] == "HEAD"  # answered as GET, without the body (RFC 9110, section 9.3.2)
        # A copy, because the scope is the server's.
        inner = {**scope, "method": "GET" if is_head else scope["method"], "state": {"request_id": request_id}}

        async def send_response(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Cache-Control"] = "private, no-cache"
            elif is_head:
                message["body"] = b""
            await send(message)

        try:
            await self.app(inner, receive, send_response)
        except Exception as error:
            if status:
                raise
            response = await problems.problem_handler(Request(inner), error)
            await response(inner, receive, send_response)
        finally:
            logger.info(
                "request",
                extra={
                    "request_id": request_id,
                    "method": scope["method"],
                    # The route and not the path, which may hold anything that a client puts there.
                    "route": getattr(inner.get("route"), "path", None),
                    "status": status,
                    "milliseconds": round((time.perf_counter() - started) * 1000, 1),
                },
            )


def _request_id(scope: Scope) -> str:
    """The client's own id when it is a plain one, else API Gateway's, else a new one."""
    offered = Headers(scope=scope).get("x-request-id", "")
    if re.fullmatch(r"[A-Za-z0-9._-]{1,128}", offered):
        return offered
    event = scope.get("aws.event", {})
    return str(event.get("requestContext", {}).get("requestId") or uuid4())
