"""Checks of a request's body, before anything else: its size, its type, and whether it is JSON."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute

BODY_MAX = 64 * 1024
"""The most bytes that a request's body may have."""


class JsonRoute(APIRoute):
    """Looks at the body before anything else: at its size (413), then its type (415), then its form (400)."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The operation, behind these checks."""
        operation = super().get_route_handler()
        accepted, headers = ["application/json"], None
        if self.methods == {"PATCH"}:
            accepted.append("application/merge-patch+json")
            headers = {"Accept-Patch": ", ".join(accepted)}  # RFC 5789, section 2.2

        async def checked(request: Request) -> Response:
            body = await request.body()
            if len(body) > BODY_MAX:
                raise HTTPException(413)
            if self.body_field is not None:
                media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
                if body and media_type not in accepted:
                    raise HTTPException(415, headers=headers)
                try:
                    await request.json()  # kept by the request: FastAPI does not parse it again
                except (ValueError, RecursionError):  # not JSON; or nested too deep, or a number of too many digits
                    raise HTTPException(400) from None
            return await operation(request)

        return checked
