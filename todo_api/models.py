"""The two tables, and the models that requests and responses are made of."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any
from uuid import UUID

import sqlalchemy as sa
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    computed_field,
    field_validator,
)
from pydantic_core import PydanticCustomError
from sqlmodel import Field as ColumnField
from sqlmodel import SQLModel

TITLE_MAX = 255
DESCRIPTION_MAX = 2_000
USER_ID_MAX = 255
IDEMPOTENCY_KEY_MAX = 255
PAGE_DEFAULT = 50
PAGE_MAX = 100

# Constraint names are the same in every database, so that migrations can refer to them.
SQLModel.metadata.naming_convention = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_name)s_fkey",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}


class User(SQLModel, table=True):
    """A user id that has written at least once. Users are registered elsewhere; this row is what todos point to."""

    __tablename__ = "users"
    __table_args__ = (sa.CheckConstraint(f"char_length(id) BETWEEN 1 AND {USER_ID_MAX}", name="id_length"),)

    id: str = ColumnField(sa_column=sa.Column(sa.Text, primary_key=True))
    created_at: datetime = ColumnField(
        sa_column=sa.Column(sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
    )


class Todo(SQLModel, table=True):
    """One todo of one user. Lengths are Unicode code points, as in PostgreSQL's `char_length`."""

    __tablename__ = "todos"
    __table_args__ = (
        sa.CheckConstraint(f"char_length(title) BETWEEN 1 AND {TITLE_MAX}", name="title_length"),
        sa.CheckConstraint(f"char_length(description) <= {DESCRIPTION_MAX}", name="description_length"),
        # Read backwards, each is one range of one user's todos, newest first.
        sa.Index("todos_by_user", "user_id", "created_at", "id"),
        sa.Index("todos_by_user_and_completion", "user_id", "is_completed", "created_at", "id"),
        sa.CheckConstraint(
            f"char_length(idempotency_key) BETWEEN 1 AND {IDEMPOTENCY_KEY_MAX}", name="idempotency_key_length"
        ),
        sa.Index(
            "todos_by_idempotency_key",
            "user_id",
            "idempotency_key",
            unique=True,
            postgresql_where=sa.column("idempotency_key").is_not(None),
        ),
    )

    id: UUID = ColumnField(sa_column=sa.Column(sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid()))
    user_id: str = ColumnField(
        sa_column=sa.Column(sa.Text, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False)
    )
    title: str = ColumnField(sa_column=sa.Column(sa.Text, nullable=False))
    description: str | None = ColumnField(sa_column=sa.Column(sa.Text))
    is_completed: bool = ColumnField(sa_column=sa.Column(sa.Boolean, nullable=False, server_default=sa.false()))
    created_at: datetime = ColumnField(
        sa_column=sa.Column(sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
    )
    updated_at: datetime = ColumnField(
        sa_column=sa.Column(sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
    )
    idempotency_key: str | None = ColumnField(sa_column=sa.Column(sa.Text))
    request_hash: bytes | None = ColumnField(sa_column=sa.Column(sa.LargeBinary))
    """What the create that brought the key asked for, to tell a retry from another request with the same key."""


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


def _rfc3339(value: datetime) -> str:
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
    PlainSerializer(_rfc3339),
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
        return f'"{_rfc3339(self.updated_at)}"'


def version_of(etag: str) -> datetime | None:
    """The `updated_at` that an entity tag of this API stands for, or None for any other tag."""
    try:
        version = datetime.fromisoformat(etag.strip('"'))
        return version if etag == f'"{_rfc3339(version)}"' else None
    except (ValueError, OverflowError):  # OverflowError: a time whose offset leads out of the years 1 to 9999
        return None


_SOME_CURSOR = "MjAyNi0xMS0yMFQwOTozMDowMC4xMjM0NTZaIDBiMmI1ZWEwLTZhM2YtNGMxZS05YTU1LTNjMWY2YjdkMmYxMCBGYWxzZQ"


class TodoPage(BaseModel):
    """One page of the caller's todos, newest first; `next_cursor` is null on the last page."""

    items: Annotated[list[TodoPublic], Field(description="The todos of this page.")]
    next_cursor: Annotated[str | None, Field(description="The cursor of the next page.", examples=[_SOME_CURSOR])]


@dataclass(frozen=True)
class Cursor:
    """A place in the list: just after the todo with this creation time and id, under this filter."""

    created_at: datetime
    id: UUID
    is_completed: bool | None

    def __str__(self) -> str:
        """The text of the cursor in base64url, so that clients take it for opaque."""
        text = f"{_rfc3339(self.created_at)} {self.id} {self.is_completed}"
        return urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read a cursor's text.

        Raises:
            ValueError: this API did not make the text.
        """
        with suppress(ValueError, KeyError, OverflowError):
            created_at, id_, is_completed = urlsafe_b64decode(text + "==").decode().split(" ")
            cursor = cls(datetime.fromisoformat(created_at), UUID(id_), _FILTERS[is_completed])
            if str(cursor) == text:
                return cursor
        raise PydanticCustomError("cursor", "Must be a next_cursor of this list, unchanged")


_FILTERS = {str(value): value for value in (None, False, True)}


class TodoQuery(BaseModel):
    """The list's query parameters."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    limit: Annotated[int, Field(ge=1, le=PAGE_MAX, description="How many todos a page has at most.", examples=[20])] = (
        PAGE_DEFAULT
    )
    is_completed: Annotated[
        bool | None, Field(description="Only todos that are done, or only those that are not.", examples=[False])
    ] = None
    cursor: Annotated[
        Annotated[Cursor, BeforeValidator(Cursor.parse), WithJsonSchema({"type": "string"})] | None,
        Field(
            description="A `next_cursor` of an earlier page with the same `is_completed`, unchanged.",
            examples=[_SOME_CURSOR],
        ),
    ] = None

    @field_validator("cursor")
    @classmethod
    def _made_for_this_filter(cls, cursor: Cursor | None, info: ValidationInfo) -> Cursor | None:
        if cursor and "is_completed" in info.data and cursor.is_completed != info.data["is_completed"]:
            raise PydanticCustomError("cursor", "Must be used with the is_completed that it was made with")
        return cursor
