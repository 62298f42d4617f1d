"""The headers of conditional (RFC 9110, section 13.1) and idempotent requests, as plain values."""

from datetime import datetime
from typing import Annotated

from fastapi import Depends, Header

from todo_api.models.fields import SOME_ETAG, version_of
from todo_api.models.tables import IDEMPOTENCY_KEY_MAX

IfMatchHeader = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description="Write only if this is still the `etag`, else 412. `*` means any.",
        examples=[SOME_ETAG],
    ),
]
IfNoneMatchHeader = Annotated[
    str | None,
    Header(
        alias="If-None-Match",
        description="Answer 304 without a body if this is still the `etag`.",
        examples=[SOME_ETAG],
    ),
]
IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description=(
            "Makes a retry safe: the first create with this key creates, later ones return it."
        ),
        min_length=1,
        max_length=IDEMPOTENCY_KEY_MAX,
        pattern="^[!-~]+$",  # visible ASCII
        examples=["4f1c2a7e-9d35-4a7b-8f0e-2b6c1d3e5a90"],
    ),
]


def _entity_tags(header: str) -> list[str]:
    """Return the elements of a list (RFC 9110, section 5.6.1). The API's own tags have no comma."""
    return [element.strip() for element in header.split(",")]


async def if_match_versions(
    if_match: IfMatchHeader = None,
) -> frozenset[datetime] | None:
    """Return the versions that `If-Match` allows, or None for any.

    Weak tags, and what is no tag of this API, allow nothing (RFC 9110, section 13.1.1).
    """
    if if_match is None or if_match.strip() == "*":
        return None
    versions = [version_of(tag) for tag in _entity_tags(if_match)]
    return frozenset(version for version in versions if version is not None)


IfMatchVersions = Annotated[frozenset[datetime] | None, Depends(if_match_versions)]


def if_none_match_matches(if_none_match: str | None, etag: str) -> bool:
    """Return whether `If-None-Match` contains this tag.

    By weak comparison (RFC 9110, section 13.1.2).
    """
    if if_none_match is None:
        return False
    tags = [tag.removeprefix("W/") for tag in _entity_tags(if_none_match)]
    return if_none_match.strip() == "*" or etag in tags
