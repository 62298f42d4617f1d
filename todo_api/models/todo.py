"""The request and response bodies of a todo, and the types of their fields."""

import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StringConstraints,
    computed_field,
)
from pydantic_core import PydanticCustomError

from todo_api.models.tables import DESCRIPTION_MAX, TITLE_MAX


def _refuse_control_characters(value: str) -> str:
    if re.search("[\x00-\x1f]", value):
        raise PydanticCustomError("control_characters", "Must not contain control characters")
    return value


def _refuse_control_characters_in_text(value: str) -> str:
    if re.search("[\x00-\x08\x0b-\x1f]", value):
        raise PydanticCustomError(
            "control_characters", "Must not contain control characters but tab and newline"
        )
    return value


def _crlf_to_lf(value: Any) -> Any:
    return value.replace("\r\n", "\n") if isinstance(value, str) else value


def rfc3339(value: datetime) -> str:
    """Format a time in UTC with six fractional digits and `Z` (RFC 3339)."""
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


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
Description = Annotated[
    Annotated[
        str,
        StringConstraints(max_length=DESCRIPTION_MAX),
        AfterValidator(_refuse_control_characters_in_text),
        BeforeValidator(_crlf_to_lf),
    ]
    | None,
    Field(
        description=f"At most {DESCRIPTION_MAX:,} code points. CRLF is stored as LF. "
        "Null means no description.",
        examples=["Two of them"],
    ),
]
IsCompleted = Annotated[
    StrictBool, Field(description="Whether the todo is done. Default: false.", examples=[False])
]
UtcTime = Annotated[
    datetime,
    PlainSerializer(rfc3339),
    Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-20T09:30:00.123456Z"]),
]


class TodoCreate(BaseModel):
    """The body of create and of replace: all fields that callers set."""

    model_config = ConfigDict(extra="forbid")

    title: Title
    description: Description = None
    is_completed: IsCompleted = False

    def request_hash(self) -> bytes:
        """SHA-256 of the normalized request, to detect a reused idempotency key."""
        return sha256(self.model_dump_json(exclude_defaults=True).encode()).digest()


class TodoUpdate(BaseModel):
    """The body of update, a JSON merge patch (RFC 7396): absent fields keep their values."""

    model_config = ConfigDict(extra="forbid")

    # The defaults are never used: `exclude_unset` drops the fields that were not sent.
    title: Title = Field(default_factory=str)
    description: Description = Field(default_factory=str)
    is_completed: IsCompleted = Field(default_factory=bool)


class TodoPublic(BaseModel):
    """A todo."""

    model_config = ConfigDict(from_attributes=True)

    id: Annotated[
        UUID,
        Field(description="Made by the server.", examples=["0b2b5ea0-6a3f-4c1e-9a55-3c1f6b7d2f10"]),
    ]
    user_id: Annotated[str, Field(description="The owner: the caller.", examples=["alice"])]
    title: Annotated[str, Field(description="The title, trimmed.", examples=["Buy milk"])]
    description: Annotated[
        str | None,
        Field(
            description="The description, with LF for CRLF. Null means none.",
            examples=["Two of them"],
        ),
    ]
    is_completed: Annotated[bool, Field(description="Whether the todo is done.", examples=[False])]
    created_at: Annotated[UtcTime, Field(description="RFC 3339, UTC.")]
    updated_at: Annotated[UtcTime, Field(description="RFC 3339, UTC. Increases with every change.")]

    # pydantic's documented way, which mypy does not know.
    @computed_field(  # type: ignore[prop-decorator]
        description="This version of the todo, for `If-Match`.",
        examples=['"2026-11-20T09:30:00.123456Z"'],
    )
    @property
    def etag(self) -> str:
        """A strong entity tag (RFC 9110, section 8.8.3).

        No two versions have the same `updated_at`.
        """
        return f'"{rfc3339(self.updated_at)}"'


def version_of(etag: str) -> datetime | None:
    """Return the `updated_at` that an entity tag of this API stands for.

    None for any other tag.
    """
    try:
        version = datetime.fromisoformat(etag.strip('"'))
        return version if etag == f'"{rfc3339(version)}"' else None
    except (ValueError, OverflowError):  # OverflowError: the UTC time is not in the years 1 to 9999
        return None
