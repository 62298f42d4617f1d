"""Caller identity: the user id of a request.

Nothing is verified here. With `header`, anyone who knows a user id is that user. With `authorizer`,
API Gateway's authorizer has verified the caller before it invoked the function.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from starlette.exceptions import HTTPException

from todo_api.models.tables import USER_ID_MAX

HEADER = "X-User-Id"

# Where API Gateway puts what an authorizer has verified, below `requestContext.authorizer`.
# A caller cannot write any of these. Not `principalId`: AWS's own examples set it to "user".
_VERIFIED = (
    ("jwt", "claims", "sub"),  # HTTP API, JWT authorizer
    ("lambda", "sub"),  # HTTP API, Lambda authorizer: its `context`
    ("claims", "sub"),  # REST API, Cognito or JWT; HTTP API, JWT with payload 1.0
    ("sub",),  # REST API, Lambda authorizer: its `context`
)

# OpenID Connect Core 1.0, section 2: `sub` has at most 255 ASCII characters. Only visible ones,
# because HTTP trims headers.
_USER_ID = re.compile(rf"[\x21-\x7e]{{1,{USER_ID_MAX}}}")


def user_id_of(
    source: Literal["header", "authorizer"],
    headers: Sequence[str],
    event: Mapping[str, Any] | None,
) -> str:
    """Return the caller's user id.

    Args:
        source: the setting `IDENTITY_SOURCE`.
        headers: the values of the request's `X-User-Id` fields.
        event: API Gateway's event, or None outside Lambda.

    Raises:
        HTTPException: 401, the user id is missing, ambiguous or invalid.
    """
    event = event or {}
    if source == "header":
        found = _sent(event) or list(headers)
        challenge = HEADER
    else:
        found = _verified(event)
        challenge = "Bearer"
    if len(found) == 1 and isinstance(found[0], str) and _USER_ID.fullmatch(found[0]):
        return found[0]
    raise HTTPException(401, headers={"WWW-Authenticate": challenge})


def _sent(event: Mapping[str, Any]) -> list[object]:
    """Return the values of the header in a REST API's event, which holds every field.

    Mangum keeps only one of two fields whose names differ in case.
    """
    found: list[object] = []
    for name, values in (event.get("multiValueHeaders") or {}).items():
        if name.lower() == HEADER.lower():
            found += values
    return found


def _verified(event: Mapping[str, Any]) -> list[object]:
    """Return the different values at the places that only an authorizer can fill."""
    found: list[object] = []
    for path in _VERIFIED:
        value: object = event
        for key in ("requestContext", "authorizer", *path):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None and value not in found:
            found.append(value)
    return found
