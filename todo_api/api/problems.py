"""Every error as `application/problem+json` (RFC 9457): what it says, when it is sent, and how it is documented.

None of them echoes the input, SQL, a stack trace or a connection string.
"""

import logging
import re
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Match

from todo_api.database.errors import DatabaseUnavailable
from todo_api.database.repository import IdempotencyKeyReused, NotReady, PreconditionFailed, TodoNotFound

MEDIA_TYPE = "application/problem+json"

logger = logging.getLogger("todo_api")


class InvalidPart(BaseModel):
    """An invalid part of the request."""

    part: Annotated[Literal["body", "query", "path", "header"], Field(alias="in", description="Where it is.")]
    field: Annotated[str, Field(description="Its name; empty for the whole body, or a name that is no identifier.")]
    detail: Annotated[str, Field(description="What is wrong with it, for people.")]


class Problem(BaseModel):
    """An error (RFC 9457)."""

    # `type` is not an enumeration: a client must not fail over an error that it does not know.
    type: Annotated[str, Field(description="A URN that never changes.", json_schema_extra={"format": "uri"})]
    title: Annotated[str, Field(description="The kind of error, for people.")]
    status: Annotated[int, Field(description="The HTTP status.")]
    detail: Annotated[str, Field(description="What happened, for people.")]
    errors: Annotated[list[InvalidPart], Field(description="Only for 422: what is invalid.", default_factory=list)]
    request_id: Annotated[str, Field(description="The same as the X-Request-Id header, and in the log.")]


@dataclass(frozen=True)
class ProblemType:
    """A kind of error.

    Attributes:
        status: the HTTP status.
        name: completes `type`, the URN by which programs tell errors apart; it never changes.
        title: the kind of error, for people.
        detail: what happened, for people.
        errors: for 422, an example of what is invalid.
        headers: the headers that come with it, each with its description.
    """

    status: int
    name: str
    title: str
    detail: str
    errors: Sequence[Mapping[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, request_id: str, errors: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        """The members of the response, in their order."""
        urn = f"urn:todo-api:problem:{self.name}"
        members = {"type": urn, "title": self.title, "status": self.status, "detail": self.detail}
        return members | ({"errors": errors} if errors else {}) | {"request_id": request_id}


RETRY_AFTER = {"Retry-After": "The number of seconds to wait before the next try."}

MALFORMED_BODY = ProblemType(400, "malformed-body", "Malformed body", "The body is empty or not JSON.")
CHALLENGE = {"WWW-Authenticate": "How to name the user."}
NOT_IDENTIFIED = ProblemType(
    401, "not-identified", "Not identified", "The request does not name its user.", headers=CHALLENGE
)
TODO_NOT_FOUND = ProblemType(404, "todo-not-found", "Not found", "There is no such todo.")
PATH_NOT_FOUND = ProblemType(404, "path-not-found", "Not found", "There is nothing at this path.")
METHOD_NOT_ALLOWED = ProblemType(
    405, "method-not-allowed", "Method not allowed", "This path does not take this method."
)
PRECONDITION_FAILED = ProblemType(
    412, "precondition-failed", "Precondition failed", "The todo has changed since this version."
)
BODY_TOO_LARGE = ProblemType(413, "body-too-large", "Body too large", "The body has more than 65,536 bytes.")
UNSUPPORTED_MEDIA_TYPE = ProblemType(
    415,
    "unsupported-media-type",
    "Unsupported media type",
    "This operation does not take a body with this Content-Type.",
    headers={"Accept-Patch": "Only on PATCH: the types that it takes (RFC 5789)."},
)
INVALID_REQUEST = ProblemType(
    422,
    "invalid-request",
    "Invalid request",
    "Some parts of the request are invalid.",
    errors=[{"in": "body", "field": "title", "detail": "Must not be blank"}],
)
IDEMPOTENCY_KEY_REUSED = ProblemType(
    422,
    "idempotency-key-reused",
    "Idempotency key reused",
    "Another request has this idempotency key.",
    errors=[{"in": "header", "field": "Idempotency-Key", "detail": "Has been sent with another body"}],
)
INTERNAL_ERROR = ProblemType(500, "internal-error", "Internal error", "Something went wrong on our side.")
NOT_EXECUTED = ProblemType(
    503,
    "database-unavailable:not-executed",
    "Service unavailable",
    "The database is not available: the request had no effect and can be sent again.",
    headers=RETRY_AFTER,
)
OUTCOME_UNKNOWN = ProblemType(
    503,
    "database-unavailable:outcome-unknown",
    "Service unavailable",
    "The database did not answer in time: the request may or may not have taken effect.",
    headers=RETRY_AFTER,
)
NOT_READY = ProblemType(503, "not-ready", "Service unavailable", "The service is not ready.", headers=RETRY_AFTER)

BODY_PROBLEMS = (MALFORMED_BODY, UNSUPPORTED_MEDIA_TYPE)
DATABASE_PROBLEMS = (INTERNAL_ERROR, NOT_EXECUTED, OUTCOME_UNKNOWN)

_OF_EXCEPTIONS = (
    MALFORMED_BODY,
    NOT_IDENTIFIED,
    PATH_NOT_FOUND,
    METHOD_NOT_ALLOWED,
    BODY_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
)
_BY_STATUS = {problem.status: problem for problem in _OF_EXCEPTIONS}
"""What an `HTTPException` of ours or of the framework stands for."""


def documented_headers(headers: Mapping[str, str]) -> dict[str, Any]:
    """Response headers and their descriptions, in OpenAPI's form."""
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}


def error_responses(*problems: ProblemType) -> dict[int | str, dict[str, Any]]:
    """The errors that an operation can answer with, for FastAPI's `responses`."""
    responses: dict[int | str, dict[str, Any]] = {}
    for problem in problems:
        response = responses.setdefault(problem.status, {"description": problem.title, "headers": {}, "content": {}})
        response["headers"] |= documented_headers(problem.headers)
        content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}
        examples = response["content"].setdefault(MEDIA_TYPE, content)["examples"]
        value = problem.body("6ad12249-341b-4e17-8510-3b7ec7623c18", problem.errors)
        examples[problem.name.replace(":", "-")] = {"summary": problem.detail, "value": value}
    return responses


async def problem_handler(request: Request, error: Exception) -> Response:
    """The response to a request that raised `error`, whatever it is."""
    errors: Sequence[Mapping[str, str]] = ()
    headers: dict[str, str] = {}
    match error:
        case RequestValidationError():
            problem, errors = INVALID_REQUEST, [_invalid_part(found) for found in error.errors()]
        case TodoNotFound():
            problem = TODO_NOT_FOUND
        case PreconditionFailed():
            problem = PRECONDITION_FAILED
        case IdempotencyKeyReused():
            problem, errors = IDEMPOTENCY_KEY_REUSED, IDEMPOTENCY_KEY_REUSED.errors
        case HTTPException(status_code=405):
            problem, headers = METHOD_NOT_ALLOWED, {"Allow": _allowed_methods(request)}
        case HTTPException(status_code=status) if status in _BY_STATUS:
            problem, headers = _BY_STATUS[status], dict(error.headers or {})
        case DatabaseUnavailable():
            problem = OUTCOME_UNKNOWN if error.may_have_run else NOT_EXECUTED
            message = "database misconfigured" if error.misconfigured else "database unavailable"
            _log(request, message, **vars(error))
        case NotReady():
            problem = NOT_READY
            _log(request, "not ready", reason=str(error))
        case _:
            problem = INTERNAL_ERROR
            # Stack frames only: exception messages may contain user input.
            frames = traceback.format_list(traceback.extract_tb(error.__traceback__))
            _log(request, f"unforeseen {type(error).__name__}", frames=frames)
    if problem.status == 503:
        headers = {"Retry-After": "1"}
    return JSONResponse(problem.body(request.state.request_id, errors), problem.status, headers, MEDIA_TYPE)


def _log(request: Request, message: str, **details: object) -> None:
    logger.error(message, extra={"request_id": request.state.request_id, **details})


def _invalid_part(found: Mapping[str, Any]) -> Mapping[str, str]:
    part, *names = found["loc"]
    name = ".".join(map(str, names))
    # A field that the client made up is named only if it is a plain identifier: nothing else is echoed.
    is_plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", name)
    return {"in": part, "field": name if is_plain else "", "detail": _DETAILS.get(found["type"]) or found["msg"]}


_DETAILS = {
    "bool_parsing": "Must be true or false",
    "bool_type": "Must be true or false",
    "extra_forbidden": "Is not known here",
    "greater_than_equal": "Is too small",
    "int_parsing": "Must be an integer",
    "less_than_equal": "Is too large",
    "missing": "Is required",
    "model_attributes_type": "Must be a JSON object",
    "string_pattern_mismatch": "Must be visible ASCII characters",
    "string_too_short": "Must not be blank",
    "string_type": "Must be a string",
    "uuid_parsing": "Must be a UUID",
}
"""Texts for pydantic's error types: its own are for programmers, or repeat the input (`uuid_parsing`)."""


def _allowed_methods(request: Request) -> str:
    """Every method of the request's path: a router's own 405 lists those of the first route that matches."""
    methods = {
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    }
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))
