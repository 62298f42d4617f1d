"""What callers send and receive of a todo."""

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


def _without_control_characters(value: str) -> str:
    if re.search("[\x00-\x1f]", value):
        raise PydanticCustomError("control_characters", "Must not contain control characters")
    return value


def _without_control_characters_in_text(value: str) -> str:
    if re.search("[\x00-\x08\x0b-\x1f]", value):
        raise PydanticCustomError("control_characters", "Must not contain control characters but tab and newline")
    return value


def _with_line_feeds(value: Any) -> Any:
    return value.replace("\r\n", "\n") if isinstance(value, str) else value


def rfc3339(value: datetime) -> str:
    """The time in UTC with six fractional digits and `Z` (RFC 3339)."""
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


# A string with limits also refuses lone surrogates, which UTF-8 and so the database cannot hold.
Title = Annotated[
    str,
    # Trims the 25 characters that have the Unicode property White_Space.
    StringConstraints(strip_whitespace=True, min_length=1, max_length=TITLE_MAX),
    AfterValidator(_without_control_characters),
    Field(
        description=f"1 to {TITLE_MAX} characters (Unicode code points), after white space at both ends is trimmed. "
        "No control characters.",
        examples=["Buy milk"],
    ),
]
Description = Annotated[
    Annotated[
        str,
        StringConstraints(max_length=DESCRIPTION_MAX),
        AfterValidator(_without_control_characters_in_text),
        BeforeValidator(_with_line_feeds),
    ]
    | None,
    Field(
        description=f"At most {DESCRIPTION_MAX:,} characters (Unicode code points). CRLF is stored and counted as LF. "
        "No control characters but tab and newline. Null means none, an empty string deliberately empty.",
        examples=["Two of them"],
    ),
]
IsCompleted = Annotated[
    StrictBool, Field(description="Whether the todo is done: false unless a request says so.", examples=[False])
]
UtcTime = Annotated[
    datetime,
    PlainSerializer(rfc3339),
    Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-20T09:30:00.123456Z"]),
]


class TodoWrite(BaseModel):
    """The whole of a todo that a client decides: the body of create and of replace."""

    model_config = ConfigDict(extra="forbid")

    title: Title
    description: Description = None
    is_completed: IsCompleted = False

    def digest(self) -> bytes:
        """SHA-256 of the normalized request, to detect a reused idempotency key."""
        return sha256(self.model_dump_json(exclude_defaults=True).encode()).digest()


class TodoUpdate(BaseModel):
    """A JSON merge patch (RFC 7396): an absent field keeps its value, null clears the description."""

    model_config = ConfigDict(extra="forbid")

    # The defaults only mark a field as absent; `model_fields_set` tells which were sent.
    title: Title = Field(default_factory=str)
    description: Description = Field(default_factory=str)
    is_completed: IsCompleted = Field(default_factory=bool)


class TodoPublic(BaseModel):
    """A todo as its owner sees it."""

    model_config = ConfigDict(from_attributes=True)

    id: Annotated[UUID, Field(description="Made by the server.", examples=["0b2b5ea0-6a3f-4c1e-9a55-3c1f6b7d2f10"])]
    user_id: Annotated[str, Field(description="Whose todo it is: the caller.", examples=["alice"])]
    title: Annotated[str, Field(description="As sent, but trimmed.", examples=["Buy milk"])]
    description: Annotated[
        str | None, Field(description="As sent, but with LF for CRLF. Null means none.", examples=["Two of them"])
    ]
    is_completed: Annotated[bool, Field(description="Whether the todo is done.", examples=[False])]
    created_at: Annotated[UtcTime, Field(description="When it was created (RFC 3339, UTC).")]
    updated_at: Annotated[UtcTime, Field(description="When it last changed. Greater after every change.")]

    @computed_field(description="This version of the todo, for `If-Match`.", examples=['"2026-11-20T09:30:00.123456Z"'])  # type: ignore[prop-decorator]  # pydantic's documented way
    @property
    def etag(self) -> str:
        """A strong entity tag (RFC 9110, section 8.8.3): no two versions have the same `updated_at`."""
        return f'"{rfc3339(self.updated_at)}"'


def version_of(etag: str) -> datetime | None:
    """The `updated_at` that an entity tag of this API stands for, or None for any other tag."""
    try:
        version = datetime.fromisoformat(etag.strip('"'))
        return version if etag == f'"{rfc3339(version)}"' else None
    except (ValueError, OverflowError):  # OverflowError: a time whose offset leads out of the years 1 to 9999
        return None
