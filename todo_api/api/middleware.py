"""Request ids, common response headers, the request log, HEAD, and unexpected exceptions."""

import logging
import re
import time
from typing import Any
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from todo_api.api.handlers import unexpected_exception

logger = logging.getLogger("todo_api")


class RequestMiddleware:
    """Handles what all requests have in common.

    It runs inside the CORS middleware, so that a browser can read the 500 for an unexpected
    exception. Starlette itself would answer that outside of CORS.
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
        is_head = scope["method"] == "HEAD"  # GET without the body (RFC 9110, section 9.3.2)
        state: dict[str, Any] = {"request_id": request_id}
        inner = {**scope, "state": state}  # a copy, because the server still uses its scope
        if is_head:
            inner["method"] = "GET"
        if scope["path"].endswith("\n"):
            # No route: Starlette's end in `$`, which also matches before a last newline.
            inner["path"] += "/"

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
            response = await unexpected_exception(Request(inner), error)
            await response(inner, receive, send_response)
        finally:
            logger.info(
                "request",
                extra={
                    "request_id": request_id,
                    "method": scope["method"],
                    # Not the path: it may contain user input.
                    "route": getattr(inner.get("route"), "path", None),
                    "status": status,
                    "problem": state.get("problem"),
                    "milliseconds": round((time.perf_counter() - started) * 1000, 1),
                    **(state["wait"].summary() if "wait" in state else {}),
                },
            )


def _request_id(scope: Scope) -> str:
    """Return the client's id if it is a plain one, else API Gateway's, else a new one."""
    offered = Headers(scope=scope).get("x-request-id", "")
    if re.fullmatch(r"[A-Za-z0-9._-]{1,128}", offered):
        return offered
    event = scope.get("aws.event", {})
    return str(event.get("requestContext", {}).get("requestId") or uuid4())
