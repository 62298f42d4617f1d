"""The application: settings, database, routes and middleware put together."""

import logging
import re
import time
from collections.abc import Iterable
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
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        # The last of two equal keys counts. Relative, so that /docs finds it behind a stage and a mapping too.
        swagger_ui_parameters={"url": "openapi.json", "persistAuthorization": True},
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,
        middleware=[
            Middleware(RequestMiddleware),
            Middleware(
                CORSMiddleware,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
                allow_headers=[
                    "Content-Type",
                    "X-User-Id",
                    "Authorization",
                    "If-Match",
                    "If-None-Match",
                    "Idempotency-Key",
                    "X-Request-Id",
                ],
                expose_headers=["ETag", "Location", "X-Request-Id", "Retry-After", "Idempotency-Replayed"],
                max_age=600,
            ),
            Middleware(ProblemMiddleware),
        ],
        # The framework has handlers of its own for these two; all other exceptions reach ProblemMiddleware.
        exception_handlers={RequestValidationError: problems.answer, HTTPException: problems.answer},
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
    """Gives each request its id and one line for each header, each response its common headers, and the log a line."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI 3)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        scope["headers"] = _joined(scope["headers"])
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Cache-Control"] = "private, no-cache"
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            # The route and not the path: whatever a client may put into a path stays out of the log.
            route = scope.get("route")
            logger.info(
                "request",
                extra={
                    "request_id": request_id,
                    "method": scope["method"],
                    "route": getattr(route, "path", None),
                    "status": status,
                    "milliseconds": round((time.perf_counter() - started) * 1000, 1),
                },
            )


class ProblemMiddleware:
    """Answers every exception that nothing below answered.

    Starlette's own place for that lies outside the CORS middleware, where no browser could read the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI 3)."""
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            response = await problems.answer(Request(scope), error)
            await response(scope, receive, send)


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Header fields with the values of a repeated one joined (RFC 9110, section 5.3), as API Gateway does before us."""
    joined: dict[bytes, bytes] = {}
    for name, value in headers:
        joined[name] = joined[name] + b"," + value if name in joined else value
    return list(joined.items())


def _request_id(scope: Scope) -> str:
    """The client's own id when it is a plain one, else API Gateway's, else a new one."""
    offered = Headers(scope=scope).get("x-request-id", "")
    if re.fullmatch(r"[A-Za-z0-9._-]{1,128}", offered):
        return offered
    event = scope.get("aws.event", {})
    return str(event.get("requestContext", {}).get("requestId") or uuid4())
