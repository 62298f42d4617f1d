"""The hosts that the local server answers.

With DNS rebinding (https://en.wikipedia.org/wiki/DNS_rebinding) a page of another site reaches a
server on loopback under its own name, and so without CORS.
"""

import re

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from todo_api.api.handlers import problem_response
from todo_api.api.problems import ProblemType

_LOCAL_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?", re.IGNORECASE)

MISDIRECTED_REQUEST = ProblemType(
    421, "misdirected-request", "The local server answers 127.0.0.1, localhost and [::1] only."
)


class LocalHosts:
    """Answers 421 to a request for any other host (RFC 9110, section 15.5.20)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI 3), inside of `RequestMiddleware`."""
        hosts = Headers(scope=scope).getlist("host") if scope["type"] == "http" else ["localhost"]
        if len(hosts) == 1 and _LOCAL_HOST.fullmatch(hosts[0]):
            await self.app(scope, receive, send)
            return
        response = problem_response(Request(scope), MISDIRECTED_REQUEST)
        await response(scope, receive, send)
