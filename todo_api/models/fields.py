"""The field types that any resource uses, its times, and its entity tags."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

from todo_api.models.tables import DESCRIPTION_MAX, TITLE_MAX

# Examples for the OpenAPI document.
SOME_ID = "0b2b5ea0-6a3f-4c1e-9a55-3c1f6b7d2f10"
SOME_TIME = "2026-11-20T09:30:00.123456Z"
SOME_ETAG = f'"{SOME_TIME}"'


def _refuse_control_characters(value: str) -> str:
    if re.search("[\x00-\x1f]", value):
        raise PydanticCustomError("control_characters", "Must not contain control characters")
    return value


def _refuse_control_characters_in_text(value: str) -> str:
    if re.search("[\x00-\x08\x0b-\x1f]", value):
        raise PydanticCustomError(
            "control_characters",
            "Must not contain control characters but tab and newline",
        )
    return value


def _crlf_to_lf(value: Any) -> Any:
    return value.replace("\r\n", "\n") if isinstance(value, str) else value


def rfc3339(value: datetime) -> str:
    """Format a time in UTC with six fractional digits and `Z` (RFC 3339)."""
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def etag_of(updated_at: datetime) -> str:
    """Return the entity tag of a version: a strong one (RFC 9110, section 8.8.3).

    No two versions of a row have the same `updated_at`.
    """
    return f'"{rfc3339(updated_at)}"'


def version_of(etag: str) -> datetime | None:
    """Return the `updated_at` that an entity tag of this API stands for, or None for another."""
    try:
        version = datetime.fromisoformat(etag.strip('"'))
        return version if etag == etag_of(version) else None
    except (ValueError, OverflowError):  # OverflowError: the UTC time is not in the years 1 to 9999
        return None


SERVER_FIELDS = frozenset({"id", "user_id", "created_at", "updated_at", "etag"})
"""The fields that the server makes."""


def drop_server_fields(body: Any) -> Any:
    """Ignore the fields that the server makes, so that what was read can be sent back.

    A validator of the body, before its own (https://google.aip.dev/203: output-only fields).
    """
    if not isinstance(body, dict):
        return body
    return {name: value for name, value in body.items() if name not in SERVER_FIELDS}


# A constrained str also refuses lone surrogates, which UTF-8 and so the database cannot store.
Title = Annotated[
    str,
    # strip_whitespace trims the characters with the Unicode property White_Space.
    StringConstraints(strip_whitespace=True, min_length=1, max_length=TITLE_MAX),
    AfterValidator(_refuse_control_characters),
    Field(
        description=f"1 to {TITLE_MAX} code points after trimming. No control characters.",
        examples=["Buy milk"],
    ),
]
_Text = Annotated[
    str,
    StringConstraints(max_length=DESCRIPTION_MAX),
    AfterValidator(_refuse_control_characters_in_text),
    BeforeValidator(_crlf_to_lf),
]
Description = Annotated[
    _Text | None,
    Field(
        description=(
            f"At most {DESCRIPTION_MAX:,} code points. CRLF is stored as LF. "
            "Null means no description."
        ),
        examples=["Two of them"],
    ),
]

# What the server makes, as it is in responses.
UtcTime = Annotated[
    datetime,
    PlainSerializer(rfc3339),
    Field(json_schema_extra={"format": "date-time"}, examples=[SOME_TIME]),
]
Id = Annotated[UUID, Field(description="Made by the server.", examples=[SOME_ID])]
OwnerId = Annotated[
    str,
    Field(description="The owner: the caller.", examples=["alice"]),
]
CreatedAt = Annotated[UtcTime, Field(description="RFC 3339, UTC.")]
UpdatedAt = Annotated[
    UtcTime,
    Field(description="RFC 3339, UTC. Increases with every change."),
]
RESPONSE = ConfigDict(
    from_attributes=True,
    json_schema_serialization_defaults_required=True,
)
"""A response is read from the attributes of a row. Every field is required in its schema."""

Etag = Annotated[
    str,
    Field(
        # Made of the field `updated_at`, which is before it.
        default_factory=lambda fields: etag_of(fields["updated_at"]),
        description="This version, for `If-Match`.",
        examples=[SOME_ETAG],
    ),
]
