"""What runs before FastAPI reads the request: checks of the body, and empty parameters."""

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlencode

from fastapi import HTTPException, Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from starlette.datastructures import QueryParams

BODY_MAX = 64 * 1024  # bytes


class JsonRoute(APIRoute):
    """Checks the body's size (413), then its media type (415), then its syntax (400).

    Removes empty query parameters, which many clients send for what was not set.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, with the checks before it."""
        handle = super().get_route_handler()
        accepted, headers = ["application/json"], None
        if self.methods == {"PATCH"}:
            accepted.append("application/merge-patch+json")
            headers = {"Accept-Patch": ", ".join(accepted)}  # RFC 5789, section 2.2

        parameters = {field.alias for field in get_flat_params(self.dependant)}

        async def checked(request: Request) -> Response:
            if request.scope["query_string"]:
                # An unknown parameter stays, and is refused.
                query = [
                    (name, value)
                    for name, value in QueryParams(request.scope["query_string"]).multi_items()
                    if value or name not in parameters
                ]
                request.scope["query_string"] = urlencode(query).encode()
            body = await request.body()
            if len(body) > BODY_MAX:
                raise HTTPException(413)
            if self.body_field is not None:
                content_type = request.headers.get("content-type", "")
                media_type = content_type.partition(";")[0].strip().lower()
                if body and media_type not in accepted:
                    raise HTTPException(415, headers=headers)
                encoding = request.headers.get("content-encoding", "identity")
                if body and encoding.strip().lower() != "identity":
                    raise HTTPException(415, headers={"Accept-Encoding": "identity"})
                try:
                    await request.json()  # cached: FastAPI does not parse it again
                except (ValueError, RecursionError):  # RecursionError: nested too deep
                    raise HTTPException(400) from None
            return await handle(request)

        return checked
