"""Every kind of error, as `application/problem+json` (RFC 9457).

`handlers.py` says which exception is answered with which.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, Field

from todo_api.api.validation import InvalidPart

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """An error (RFC 9457)."""

    # `type` is no enumeration, so that a generated client accepts new errors.
    type: Annotated[
        str,
        Field(description="A URN that never changes.", json_schema_extra={"format": "uri"}),
    ]
    title: Annotated[str, Field(description="The kind of error, for people.")]
    status: Annotated[
        int,
        Field(description="The HTTP status.", json_schema_extra={"format": "int32"}),
    ]
    detail: Annotated[str, Field(description="What happened, for people.")]
    errors: Annotated[
        Sequence[InvalidPart], Field(description="Only for 422: what is invalid. At most 20.")
    ] = ()
    request_id: Annotated[
        str,
        Field(description="The X-Request-Id header, also in the log."),
    ]


@dataclass(frozen=True)
class ProblemType:
    """A kind of error.

    `name` never changes.
    """

    status: int
    name: str
    detail: str
    header_descriptions: Mapping[str, str] = field(default_factory=dict)
    example: Sequence[InvalidPart] = ()
    """What is invalid, in the OpenAPI document."""

    def of_request(self, request_id: str, errors: Sequence[InvalidPart] = ()) -> Problem:
        """Return the problem of one request."""
        kind = self.name.partition(":")[0]
        return Problem(
            type=f"urn:todo-api:problem:{self.name}",
            title=kind.replace("-", " ").capitalize(),
            status=self.status,
            detail=self.detail,
            errors=errors,
            request_id=request_id,
        )


CHALLENGE = {"WWW-Authenticate": "How to send the user id."}
ACCEPTED = {
    "Accept-Patch": "Only on PATCH: the accepted media types (RFC 5789).",
    "Accept-Encoding": "Only for an encoded body: `identity` (RFC 9110, section 15.5.16).",
}
RETRY_AFTER = {
    "Retry-After": "Seconds to wait before a retry: 60 where a person has to act first, else 1."
}
BLANK_TITLE = InvalidPart(part="body", field="title", detail="Must not be blank")
KEY_REUSED = InvalidPart(
    part="header", field="Idempotency-Key", detail="Was used with another body"
)

MALFORMED_BODY = ProblemType(
    400,
    "malformed-body",
    "The body is empty, is not JSON, is nested too deep, or has too long a number.",
)
NOT_IDENTIFIED = ProblemType(401, "not-identified", "The user id is missing or invalid.", CHALLENGE)
PATH_NOT_FOUND = ProblemType(404, "path-not-found", "There is nothing at this path.")
TODO_NOT_FOUND = ProblemType(404, "todo-not-found", "There is no todo with this id.")
METHOD_NOT_ALLOWED = ProblemType(
    405, "method-not-allowed", "This path does not support this method."
)
# Nothing refers to a todo. In docs/extending, todos refer to lists.
STILL_REFERENCED = ProblemType(409, "still-referenced", "Something else refers to it.")
PRECONDITION_FAILED = ProblemType(
    412,
    "precondition-failed",
    "It does not have the version that If-Match names.",
)
BODY_TOO_LARGE = ProblemType(413, "body-too-large", "The body has more than 65,536 bytes.")
UNSUPPORTED_MEDIA_TYPE = ProblemType(
    415,
    "unsupported-media-type",
    "Send the body as application/json, and without a Content-Encoding. "
    "PATCH also accepts application/merge-patch+json.",
    ACCEPTED,
)
INVALID_REQUEST = ProblemType(
    422,
    "invalid-request",
    "Some parts of the request are invalid.",
    example=[BLANK_TITLE],
)
IDEMPOTENCY_KEY_REUSED = ProblemType(
    422,
    "idempotency-key-reused",
    "This idempotency key was used with another body.",
    example=[KEY_REUSED],
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
