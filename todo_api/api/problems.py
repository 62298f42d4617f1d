"""Every error as `application/problem+json` (RFC 9457).

No error repeats the input, SQL, a stack trace or a connection string.
"""

import logging
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Match

from todo_api.api.validation import InvalidPart, invalid_parts
from todo_api.database.errors import DatabaseUnavailable, ForeignKeyViolation
from todo_api.database.readiness import NotReady
from todo_api.database.rows import PreconditionFailed
from todo_api.database.todos import IdempotencyKeyReused, TodoNotFound

MEDIA_TYPE = "application/problem+json"

logger = logging.getLogger("todo_api")


class Problem(BaseModel):
    """An error (RFC 9457)."""

    # `type` is no enumeration, so that a generated client accepts new errors.
    type: Annotated[
        str, Field(description="A URN that never changes.", json_schema_extra={"format": "uri"})
    ]
    title: Annotated[str, Field(description="The kind of error, for people.")]
    status: Annotated[
        int, Field(description="The HTTP status.", json_schema_extra={"format": "int32"})
    ]
    detail: Annotated[str, Field(description="What happened, for people.")]
    errors: Annotated[
        list[InvalidPart],
        Field(description="Only for 422: what is invalid. At most 20.", default_factory=list),
    ]
    request_id: Annotated[str, Field(description="The X-Request-Id header, also in the log.")]


@dataclass(frozen=True)
class ProblemType:
    """A kind of error.

    `name` never changes; `headers` maps the names of response headers to descriptions.
    """

    status: int
    name: str
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    errors: Sequence[Mapping[str, str]] = ()

    def body(self, request_id: str, errors: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        """Return the response body."""
        urn = f"urn:todo-api:problem:{self.name}"
        title = self.name.partition(":")[0].replace("-", " ").capitalize()
        body = {"type": urn, "title": title, "status": self.status, "detail": self.detail}
        return body | ({"errors": errors} if errors else {}) | {"request_id": request_id}


CHALLENGE = {"WWW-Authenticate": "How to send the user id."}
ACCEPTED = {
    "Accept-Patch": "Only on PATCH: the accepted media types (RFC 5789).",
    "Accept-Encoding": "Only for an encoded body: `identity` (RFC 9110, section 15.5.16).",
}
RETRY_AFTER = {
    "Retry-After": "Seconds to wait before a retry: 60 where a person has to act first, else 1."
}
BLANK_TITLE = {"in": "body", "field": "title", "detail": "Must not be blank"}
KEY_REUSED = {"in": "header", "field": "Idempotency-Key", "detail": "Was used with another body"}

MALFORMED_BODY = ProblemType(400, "malformed-body", "The body is empty or not JSON.")
NOT_IDENTIFIED = ProblemType(401, "not-identified", "The user id is missing or invalid.", CHALLENGE)
PATH_NOT_FOUND = ProblemType(404, "path-not-found", "There is nothing at this path.")
TODO_NOT_FOUND = ProblemType(404, "todo-not-found", "There is no todo with this id.")
METHOD_NOT_ALLOWED = ProblemType(
    405, "method-not-allowed", "This path does not support this method."
)
STILL_REFERENCED = ProblemType(409, "still-referenced", "Something else refers to it.")
PRECONDITION_FAILED = ProblemType(412, "precondition-failed", "It has changed since this version.")
BODY_TOO_LARGE = ProblemType(413, "body-too-large", "The body has more than 65,536 bytes.")
UNSUPPORTED_MEDIA_TYPE = ProblemType(
    415,
    "unsupported-media-type",
    "Send the body as application/json, and without a Content-Encoding. "
    "PATCH also accepts application/merge-patch+json.",
    ACCEPTED,
)
INVALID_REQUEST = ProblemType(
    422, "invalid-request", "Some parts of the request are invalid.", errors=[BLANK_TITLE]
)
IDEMPOTENCY_KEY_REUSED = ProblemType(
    422,
    "idempotency-key-reused",
    "This idempotency key was used with another body.",
    errors=[KEY_REUSED],
)
INTERNAL_ERROR = ProblemType(500, "internal-error", "Something went wrong on our side.")
NOT_EXECUTED = ProblemType(
    503,
    "database-unavailable:not-executed",
    "The database is not available. The request had no effect, so a retry is safe.",
    RETRY_AFTER,
)
# Not 503, and no Retry-After: HTTP libraries repeat a write by these.
OUTCOME_UNKNOWN = ProblemType(
    504,
    "database-unavailable:outcome-unknown",
    "The database did not answer in time. The request may have taken effect.",
)
NOT_READY = ProblemType(503, "not-ready", "The service is not ready.", RETRY_AFTER)

BODY_PROBLEMS = (MALFORMED_BODY, UNSUPPORTED_MEDIA_TYPE)
DATABASE_PROBLEMS = (INTERNAL_ERROR, NOT_EXECUTED, OUTCOME_UNKNOWN)
COMMON_PROBLEMS = (NOT_IDENTIFIED, BODY_TOO_LARGE, *DATABASE_PROBLEMS)

# What an exception of the database layer means.
_EXCEPTIONS: Mapping[type[Exception], ProblemType] = {
    TodoNotFound: TODO_NOT_FOUND,
    PreconditionFailed: PRECONDITION_FAILED,
    IdempotencyKeyReused: IDEMPOTENCY_KEY_REUSED,
}
HANDLED = (
    *(RequestValidationError, HTTPException),
    *(DatabaseUnavailable, ForeignKeyViolation, NotReady),
    *_EXCEPTIONS,
)
"""The exceptions that are ordinary answers."""

# What an HTTPException means, ours or the framework's.
_HTTP_EXCEPTIONS = (
    *BODY_PROBLEMS,
    NOT_IDENTIFIED,
    PATH_NOT_FOUND,
    METHOD_NOT_ALLOWED,
    BODY_TOO_LARGE,
)
_BY_STATUS = {problem.status: problem for problem in _HTTP_EXCEPTIONS}


async def problem_handler(request: Request, error: Exception) -> Response:
    """Return the response for an exception."""
    errors: Sequence[Mapping[str, str]] = ()
    headers: dict[str, str] = {}
    needs_a_person = False
    match error:
        case RequestValidationError():
            problem = INVALID_REQUEST
            errors = invalid_parts(error)
        case _ if type(error) in _EXCEPTIONS:
            problem = _EXCEPTIONS[type(error)]
            errors = problem.errors
        case ForeignKeyViolation() if request.method == "DELETE":
            problem = STILL_REFERENCED
        case ForeignKeyViolation():
            # The same for another user's row and for a missing one.
            missing = {
                "in": "body",
                "field": error.field,
                "detail": "There is nothing with this id",
            }
            problem = INVALID_REQUEST
            errors = [missing]
        case HTTPException(status_code=405):
            problem = METHOD_NOT_ALLOWED
            headers = {"Allow": _allowed_methods(request)}
        case HTTPException(status_code=status) if status in _BY_STATUS:
            problem = _BY_STATUS[status]
            headers = dict(error.headers or {})
        case DatabaseUnavailable():
            problem = OUTCOME_UNKNOWN if error.may_have_run else NOT_EXECUTED
            message = "database misconfigured" if error.misconfigured else "database unavailable"
            needs_a_person = error.misconfigured
            _log(request, message, **vars(error))
        case NotReady():
            problem = NOT_READY
            needs_a_person = True  # to migrate the database, or to repair it
            _log(request, "not ready", reason=str(error))
        case _:
            problem = INTERNAL_ERROR
            # Stack frames only: exception messages may contain user input.
            frames = traceback.format_list(traceback.extract_tb(error.__traceback__))
            _log(request, f"unexpected {type(error).__name__}", frames=frames)
    request.state.problem = problem.name  # for the log
    if problem.status == 503:
        headers = {"Retry-After": "60" if needs_a_person else "1"}
    return JSONResponse(
        problem.body(request.state.request_id, errors), problem.status, headers, MEDIA_TYPE
    )


def _log(request: Request, message: str, **details: object) -> None:
    logger.error(message, extra={"request_id": request.state.request_id, **details})


def _allowed_methods(request: Request) -> str:
    """Return all methods of the path.

    Starlette's own 405 lists only those of the first matching route.
    """
    methods = {
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    }
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))
