"""What the OpenAPI document cannot say, said to Schemathesis, which loads this module by `schemathesis.toml`."""

import os
import re
from itertools import count
from typing import Any
from urllib.parse import unquote

import schemathesis
from schemathesis.specs.openapi import _auth_retry

# The check `ignored_auth` sends a credential that it takes for invalid, and expects 401. In header mode every string of
# visible ASCII is a user id, and nothing is verified: only what cannot be a user id is invalid.
_auth_retry.INVALID_CREDENTIAL = "not a user id"

_keys = count()
_cursors: dict[str, str] = {}
"""The last cursor that a list has given, for each filter."""


@schemathesis.hook
def filter_case(_: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Leave out what an HTTP API does not hand on: it cuts a path at a question mark, and another operation answers."""
    return os.environ["WAY_IN"] == "local" or "?" not in unquote(str(case.path_parameters.get("id")))


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case[Any], **__: Any) -> None:
    """Make what is meant to be valid valid: texts without control characters, no key twice, and real cursors."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    for name in ("title", "description"):
        if isinstance(case.body, dict) and isinstance(text := case.body.get(name), str):
            case.body[name] = re.sub(r"[\x00-\x1f]", "", text).strip() or "x"
    if "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = f"key-{next(_keys)}"
    if "cursor" in case.query:
        cursor = _cursors.get(_filter(case))
        if cursor:
            case.query["cursor"] = cursor
        else:
            del case.query["cursor"]


@schemathesis.hook
def after_call(_: schemathesis.HookContext, case: schemathesis.Case[Any], response: schemathesis.Response) -> None:
    """Remember a list's cursor."""
    if case.operation.label == "GET /v1/todos" and response.status_code == 200 and response.json()["next_cursor"]:
        _cursors[_filter(case)] = response.json()["next_cursor"]


def _filter(case: schemathesis.Case[Any]) -> str:
    return str(case.query.get("is_completed")).lower()
