"""Schemathesis hooks for rules that the OpenAPI document cannot express.

`schemathesis.toml` loads them.
"""

import os
import re
from itertools import count
from typing import Any
from urllib.parse import unquote

import schemathesis
from schemathesis.specs.openapi import _auth_retry

from tests.support.documents.openapi import OPERATIONS
from tests.support.documents.walk import numbered

# The check `ignored_auth` sends an invalid credential and expects 401. In header mode every string
# of visible ASCII characters is a valid user ID, so the invalid one contains spaces.
_auth_retry.INVALID_CREDENTIAL = "not a user id"

_keys = count()
_cursors: dict[tuple[str, ...], str] = {}
"""The last cursor in a response of each list operation, by filters."""

_texts: set[str] = set()
"""Those that were sent."""

_schemas = {
    (f"{operation.method} {operation.path}", option.name): option.schema
    for operation in OPERATIONS.values()
    for option in operation.options
    if option.place == "body"
}


@schemathesis.hook
def filter_case(_: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
    """Skip paths with an encoded question mark.

    An HTTP API cuts the path there, so another operation matches.
    """
    ids = [unquote(str(value)) for value in case.path_parameters.values()]
    return os.environ["ENTRY_POINT"] == "local" or "?" not in "".join(ids)


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case[Any], **__: Any) -> None:
    """Correct positive cases.

    No control characters, no text twice, because it may be unique, a new idempotency key each time,
    only real cursors, and no references: the document cannot say which items exist.
    """
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if isinstance(case.body, dict):
        case.body = {
            name: _valid(case.operation.label, name, value)
            for name, value in case.body.items()
            if not name.endswith("_id")
        }
    if "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = f"key-{next(_keys)}"
    if "cursor" in case.query:
        cursor = _cursors.get(_filter(case))
        if cursor:
            case.query["cursor"] = cursor
        else:
            del case.query["cursor"]


def _valid(label: str, name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = re.sub(r"[\x00-\x1f]", "", value).strip() or "x"
    if text in _texts:
        text = numbered(text, _schemas.get((label, name), {}))
    _texts.add(text)
    return text


@schemathesis.hook
def after_call(
    _: schemathesis.HookContext, case: schemathesis.Case[Any], response: schemathesis.Response
) -> None:
    """Store the cursor for later cases."""
    if (
        case.method == "GET"
        and response.status_code == 200
        and (response.json() or {}).get("next_cursor")
    ):
        _cursors[_filter(case)] = response.json()["next_cursor"]


def _filter(case: schemathesis.Case[Any]) -> tuple[str, ...]:
    filters = {
        f"{name}={value}".lower()
        for name, value in case.query.items()
        if name not in ("limit", "cursor") and value is not None
    }
    return (case.operation.label, *sorted(filters))
