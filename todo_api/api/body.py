"""What runs before FastAPI reads the request: checks of the body, and empty parameters."""

from collections.abc import Callable, Collection, Coroutine
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException

BODY_MAX = 64 * 1024  # bytes
JSON = ("application/json",)
JSON_OR_MERGE_PATCH = ("application/json", "application/merge-patch+json")


class JsonRoute(APIRoute):
    """Checks the body's size (413), then its media type (415), then its syntax (400).

    Removes empty query parameters, which many clients send for what was not set.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, with the checks before it."""
        handle = super().get_route_handler()
        parameters = {field.alias for field in get_flat_params(self.dependant)}

        async def checked(request: Request) -> Response:
            _drop_empty_parameters(request, parameters)
            body = await request.body()
            if len(body) > BODY_MAX:
                raise HTTPException(413)
            if self.body_field is not None:
                if body:
                    _check_headers(request)
                try:
                    await request.json()  # cached: FastAPI does not parse it again
                except (ValueError, RecursionError):  # RecursionError: nested too deep
                    raise HTTPException(400) from None
            return await handle(request)

        return checked


def _drop_empty_parameters(request: Request, parameters: Collection[str]) -> None:
    """Remove the operation's parameters without a value. An unknown one stays, and is refused."""
    if not request.scope["query_string"]:
        return
    query = [
        (name, value)
        for name, value in QueryParams(request.scope["query_string"]).multi_items()
        if value or name not in parameters
    ]
    request.scope["query_string"] = urlencode(query).encode()


def _check_headers(request: Request) -> None:
    """Refuse a body that is not JSON, or that is encoded."""
    is_patch = request.method == "PATCH"
    accepted = JSON_OR_MERGE_PATCH if is_patch else JSON
    content_type = request.headers.get("content-type", "")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in accepted:
        # RFC 5789, section 2.2
        headers = {"Accept-Patch": ", ".join(accepted)} if is_patch else None
        raise HTTPException(415, headers=headers)
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise HTTPException(415, headers={"Accept-Encoding": "identity"})
