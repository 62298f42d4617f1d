"""What each exception is answered with.

No answer repeats the input, SQL, a stack trace or a connection string.
"""

import logging
import traceback
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match

from todo_api.api import problems
from todo_api.api.problems import MEDIA_TYPE, ProblemType
from todo_api.api.validation import InvalidPart, invalid_parts
from todo_api.database.errors import ConstraintViolation, DatabaseUnavailable
from todo_api.database.readiness import NotReady
from todo_api.database.rows import PreconditionFailed
from todo_api.database.todos import IdempotencyKeyReused, TodoNotFound

Handler = Callable[[Request, Any], Coroutine[Any, Any, Response]]

# Seconds to wait before a retry.
RETRY_SOON = {"Retry-After": "1"}
RETRY_AFTER_REPAIR = {"Retry-After": "60"}  # a person has to act first

_OF_THE_REQUEST = (
    problems.MALFORMED_BODY,
    problems.NOT_IDENTIFIED,
    problems.PATH_NOT_FOUND,
    problems.METHOD_NOT_ALLOWED,
    problems.BODY_TOO_LARGE,
    problems.UNSUPPORTED_MEDIA_TYPE,
)
_BY_STATUS = {problem.status: problem for problem in _OF_THE_REQUEST}
"""What an HTTPException means, ours or the framework's."""

logger = logging.getLogger("todo_api")


def problem_response(
    request: Request,
    problem: ProblemType,
    errors: Sequence[InvalidPart] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the response that describes a problem."""
    request.state.problem = problem.name  # for the log
    body = problem.of_request(request.state.request_id, errors)
    json = body.model_dump_json(by_alias=True, exclude_defaults=True)
    return Response(json, problem.status, headers, MEDIA_TYPE)


def _answer_with(problem: ProblemType, errors: Sequence[InvalidPart] = ()) -> Handler:
    """Return a handler for an exception that says no more than its class."""

    async def handler(request: Request, _error: Exception) -> Response:
        return problem_response(request, problem, errors)

    return handler


async def invalid_request(
    request: Request,
    error: RequestValidationError,
) -> Response:
    """FastAPI has refused the request."""
    return problem_response(request, problems.INVALID_REQUEST, invalid_parts(error))


async def http_exception(request: Request, error: HTTPException) -> Response:
    """The framework, or a check before it, has refused the request."""
    if error.status_code not in _BY_STATUS:
        return await unexpected_exception(request, error)
    problem = _BY_STATUS[error.status_code]
    headers = error.headers
    if problem is problems.METHOD_NOT_ALLOWED:
        headers = {"Allow": _allowed_methods(request)}
    return problem_response(request, problem, headers=headers)


async def constraint_violation(
    request: Request,
    error: ConstraintViolation,
) -> Response:
    """The database has refused a value or a reference."""
    if request.method == "DELETE":
        return problem_response(request, problems.STILL_REFERENCED)
    # The same for another user's row and for a missing one.
    detail = "There is nothing with this id"
    if error.is_duplicate:
        detail = "Another one has this value"
    invalid = InvalidPart(part="body", field=error.field, detail=detail)
    return problem_response(request, problems.INVALID_REQUEST, [invalid])


async def database_unavailable(
    request: Request,
    error: DatabaseUnavailable,
) -> Response:
    """The database did not do what the request needs."""
    message = "database misconfigured" if error.misconfigured else "database unavailable"
    _log(request, message, **vars(error))
    if error.may_have_run:
        return problem_response(request, problems.OUTCOME_UNKNOWN)
    headers = RETRY_AFTER_REPAIR if error.misconfigured else RETRY_SOON
    return problem_response(request, problems.NOT_EXECUTED, headers=headers)


async def not_ready(request: Request, error: NotReady) -> Response:
    """The database has to be migrated or repaired."""
    _log(request, "not ready", reason=str(error))
    return problem_response(request, problems.NOT_READY, headers=RETRY_AFTER_REPAIR)


async def unexpected_exception(request: Request, error: Exception) -> Response:
    """A bug."""
    # Stack frames only: exception messages may contain user input.
    frames = traceback.format_list(traceback.extract_tb(error.__traceback__))
    _log(request, f"unexpected {type(error).__name__}", frames=frames)
    return problem_response(request, problems.INTERNAL_ERROR)


EXCEPTION_HANDLERS: dict[int | type[Exception], Handler] = {
    RequestValidationError: invalid_request,
    HTTPException: http_exception,
    TodoNotFound: _answer_with(problems.TODO_NOT_FOUND),
    PreconditionFailed: _answer_with(problems.PRECONDITION_FAILED),
    IdempotencyKeyReused: _answer_with(problems.IDEMPOTENCY_KEY_REUSED, [problems.KEY_REUSED]),
    ConstraintViolation: constraint_violation,
    DatabaseUnavailable: database_unavailable,
    NotReady: not_ready,
    # The client left in mid-body (RFC 9112, section 8). Only the log has the answer.
    ClientDisconnect: _answer_with(problems.MALFORMED_BODY),
}
"""FastAPI's `exception_handlers`. `RequestMiddleware` answers what is not in it."""


def _log(request: Request, message: str, **details: object) -> None:
    logger.error(message, extra={"request_id": request.state.request_id, **details})


def _allowed_methods(request: Request) -> str:
    """Return all methods of the path.

    Starlette's own 405 lists only those of the first matching route.
    """
    methods = set()
    for method in ("DELETE", "GET", "PATCH", "POST", "PUT"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes):
            methods.add(method)
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))
