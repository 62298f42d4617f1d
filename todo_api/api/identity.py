"""Who is calling: the one place where identity enters.

Nothing is verified here. With `header` anyone who knows a user id is that user; with `authorizer` API Gateway's own
authorizer has verified the token before the event reached us.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

from starlette.exceptions import HTTPException

from todo_api.models.tables import USER_ID_MAX

HEADER = "X-User-Id"

# What OpenID Connect Core 1.0, section 2, allows a `sub` claim to be: at most 255 ASCII characters. Those that
# cannot be seen are left out, because a header cannot carry them at its ends.
_USER_ID = re.compile(rf"[\x21-\x7e]{{1,{USER_ID_MAX}}}")


def user_id_of(source: Literal["header", "authorizer"], header: str | None, event: Mapping[str, Any] | None) -> str:
    """The caller's user id.

    Args:
        source: the setting `IDENTITY_SOURCE`.
        header: the request's `X-User-Id`.
        event: API Gateway's event, or None outside Lambda.

    Raises:
        HTTPException: 401, because there is no user id, or what there is cannot be one.
    """
    claimed: object = header
    if source == "authorizer":
        claimed = event
        for key in ("requestContext", "authorizer", "jwt", "claims", "sub"):
            claimed = claimed.get(key) if isinstance(claimed, Mapping) else None
    if not isinstance(claimed, str) or not _USER_ID.fullmatch(claimed):
        raise HTTPException(401, headers={"WWW-Authenticate": HEADER if source == "header" else "Bearer"})
    return claimed
