"""Conditional requests (RFC 9110, section 13.1): header fields in, plain values out."""

import re
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Header

from todo_api.models.tables import IDEMPOTENCY_KEY_MAX
from todo_api.models.todo import version_of

_SOME_TAGS = ['"2026-11-20T09:30:00.123456Z"']
IfMatchHeader = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description="Change the todo only if this `etag` is still its own, else 412. `*` means any.",
        examples=_SOME_TAGS,
    ),
]
IfNoneMatchHeader = Annotated[
    str | None,
    Header(
        alias="If-None-Match",
        description="Answer 304 without a body if this `etag` is still the todo's own.",
        examples=_SOME_TAGS,
    ),
]

IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=IDEMPOTENCY_KEY_MAX,
        pattern="^[!-~]+$",
        description="Makes it safe to send the create again: the first with this key makes the todo, later ones answer "
        "with it. Visible ASCII characters.",
        examples=["4f1c2a7e-9d35-4a7b-8f0e-2b6c1d3e5a90"],
    ),
]

_ENTITY_TAG = re.compile('(W/)?("[^"]*")')


async def if_match_versions(if_match: IfMatchHeader = None) -> frozenset[datetime] | None:
    """The versions that `If-Match` names; None where it allows every version.

    Weak tags and tags that are not of this API match nothing (RFC 9110, section 13.1.1).
    """
    if if_match is None or if_match.strip() == "*":
        return None
    strong_tags = [tag for weak, tag in _ENTITY_TAG.findall(if_match) if not weak]
    return frozenset(version for tag in strong_tags if (version := version_of(tag)))


IfMatchVersions = Annotated[frozenset[datetime] | None, Depends(if_match_versions)]


def if_none_match_matches(if_none_match: str | None, etag: str) -> bool:
    """Whether `If-None-Match` names this version. The comparison is weak (RFC 9110, section 13.1.2)."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or etag in [tag for _, tag in _ENTITY_TAG.findall(if_none_match)]
