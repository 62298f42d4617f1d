"""Caller identity: the user id of a request.

Nothing is verified here. With `header`, anyone who knows a user id is that user. With `authorizer`,
API Gateway's authorizer has verified the token before it invoked the function.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

from starlette.exceptions import HTTPException

from todo_api.models.tables import USER_ID_MAX

HEADER = "X-User-Id"

# OpenID Connect Core 1.0, section 2: `sub` has at most 255 ASCII characters. Only visible ones:
# HTTP trims headers.
_USER_ID = re.compile(rf"[\x21-\x7e]{{1,{USER_ID_MAX}}}")


def user_id_of(
    source: Literal["header", "authorizer"], header: str | None, event: Mapping[str, Any] | None
) -> str:
    """Return the caller's user id.

    Args:
        source: the setting `IDENTITY_SOURCE`.
        header: the request's `X-User-Id`.
        event: API Gateway's event, or None outside Lambda.

    Raises:
        HTTPException: 401, the user id is missing or invalid.
    """
    claimed: object = header
    if source == "authorizer":
        claimed = event
        for key in ("requestContext", "authorizer", "jwt", "claims", "sub"):
            claimed = claimed.get(key) if isinstance(claimed, Mapping) else None
    if not isinstance(claimed, str) or not _USER_ID.fullmatch(claimed):
        challenge = HEADER if source == "header" else "Bearer"
        raise HTTPException(401, headers={"WWW-Authenticate": challenge})
    return claimed
