"""Every error as `application/problem+json` (RFC 9457).

None of them echoes the input, SQL, a stack trace or a connection string.
"""

import logging
import re
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from todo_api.database import DatabaseUnavailable
from todo_api.identity import Unidentified
from todo_api.repository import IdempotencyKeyReused, NotReady, PreconditionFailed, TodoNotFound

MEDIA_TYPE = "application/problem+json"

logger = logging.getLogger("todo_api")


_TITLES = {
    400: "Malformed body",
    401: "Not identified",
    404: "Not found",
    405: "Method not allowed",
    412: "Precondition failed",
    413: "Body too large",
    415: "Unsupported media type",
    422: "Invalid request",
    500: "Internal error",
    503: "Service unavailable",
}


class Problem(Exception):
    """An error as the client sees it.

    Args:
        status: the HTTP status.
        code: completes `type`, the URN by which programs tell problems apart; it never changes.
        detail: one sentence for people.
        headers: header fields that the status calls for.
        errors: for 422, each invalid part of the request: where it is (`in`), its `field`, and a `detail`.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.headers = headers
        self.members: dict[str, Any] = {
            "type": f"urn:todo-api:problem:{code}",
            "title": _TITLES[status],
            "status": status,
            "detail": detail,
        }
        if errors is not None:
            self.members["errors"] = errors


async def answer(request: Request, error: Exception) -> Response:
    """The response to a request that raised `error` (an exception handler for every exception there is)."""
    problem = _problem(request, error)
    content = {**problem.members, "request_id": request.state.request_id}
    return JSONResponse(content, problem.status, problem.headers, MEDIA_TYPE)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors that an operation can answer with, for the OpenAPI document, which says the rest about them."""
    return {status: {"description": _TITLES[status]} for status in statuses}


def _problem(request: Request, error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case RequestValidationError():
            errors = [_invalid(found) for found in error.errors()]
            return Problem(422, "invalid-request", "Some parts of the request are invalid.", errors=errors)
        case Unidentified():
            challenge = {"WWW-Authenticate": error.scheme}
            return Problem(401, "not-identified", "The request does not name its user.", headers=challenge)
        case TodoNotFound():
            return Problem(404, "todo-not-found", "There is no such todo.")
        case PreconditionFailed():
            return Problem(412, "precondition-failed", "The todo has changed since this version.")
        case IdempotencyKeyReused():
            reused = {"in": "header", "field": "Idempotency-Key", "detail": "Has been sent with another body"}
            return Problem(422, "idempotency-key-reused", "Another request has this idempotency key.", errors=[reused])
        case HTTPException(status_code=404):
            return Problem(404, "path-not-found", "There is nothing at this path.")
        case HTTPException(status_code=405):
            allow = {"Allow": _allowed_methods(request)}
            return Problem(405, "method-not-allowed", "This path does not take this method.", headers=allow)
        case DatabaseUnavailable():
            return _unavailable(request, error)
        case NotReady():
            logger.error("not ready", extra={"request_id": request.state.request_id, "reason": str(error)})
            return Problem(503, "not-ready", "The service is not ready.", headers=_RETRY)
        case _:
            # Frames without messages: those may hold what the client sent.
            frames = traceback.format_list(traceback.extract_tb(error.__traceback__))
            logger.error(
                "unforeseen %s", type(error).__name__, extra={"request_id": request.state.request_id, "frames": frames}
            )
            return Problem(500, "internal-error", "Something went wrong on our side.")


_RETRY = {"Retry-After": "1"}


def _unavailable(request: Request, error: DatabaseUnavailable) -> Problem:
    logger.error(
        "database misconfigured" if error.misconfigured else "database unavailable",
        extra={
            "request_id": request.state.request_id,
            "phase": error.phase,
            "sqlstate": error.sqlstate,
            "reason": error.reason,
            "may_have_run": error.may_have_run,
        },
    )
    if error.may_have_run:
        detail = "The database did not answer in time: the request may or may not have taken effect."
        return Problem(503, "database-unavailable:outcome-unknown", detail, headers=_RETRY)
    detail = "The database is not available: the request had no effect and can be sent again."
    return Problem(503, "database-unavailable:not-executed", detail, headers=_RETRY)


def _invalid(found: Mapping[str, Any]) -> Mapping[str, str]:
    part, *names = found["loc"]
    name = ".".join(map(str, names))
    # A field that the client made up is named only if it is a plain identifier: nothing else is echoed.
    field = name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", name) else ""
    return {"in": part, "field": field, "detail": _DETAILS.get(found["type"]) or found["msg"]}


_DETAILS = {
    "bool_parsing": "Must be true or false",
    "bool_type": "Must be true or false",
    "extra_forbidden": "Is not known here",
    "greater_than_equal": "Is too small",
    "less_than_equal": "Is too large",
    "missing": "Is required",
    "model_attributes_type": "Must be a JSON object",
    "int_parsing": "Must be an integer",
    "string_pattern_mismatch": "Must be visible ASCII characters",
    "string_too_short": "Must not be blank",
    "string_type": "Must be a string",
    "uuid_parsing": "Must be a UUID",
}


def _allowed_methods(request: Request) -> str:
    """Every method of the request's path: a router's own 405 lists those of the first route that matches."""
    methods = {
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    }
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))
