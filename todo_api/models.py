"""The two tables, and the models that requests and responses are made of."""

import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    StrictBool,
    ValidationInfo,
    WithJsonSchema,
    computed_field,
    field_validator,
)
from pydantic_core import PydanticCustomError
from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    Uuid,
    column,
    false,
    func,
)
from sqlmodel import Field, SQLModel

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


# --- tables -----------------------------------------------------------------------------------------------------------


class User(SQLModel, table=True):
    """A user id that has written at least once. Users are registered elsewhere; this row is what todos point to."""

    __tablename__ = "users"
    __table_args__ = (CheckConstraint(f"char_length(id) BETWEEN 1 AND {USER_ID_MAX}", name="id_length"),)

    id: str = Field(sa_column=Column(Text, primary_key=True))
    created_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False, server_default=func.now()))


class Todo(SQLModel, table=True):
    """One todo of one user. Lengths are Unicode code points, as in PostgreSQL's `char_length`."""

    __tablename__ = "todos"
    __table_args__ = (
        CheckConstraint(f"char_length(title) BETWEEN 1 AND {TITLE_MAX}", name="title_length"),
        CheckConstraint(f"char_length(description) <= {DESCRIPTION_MAX}", name="description_length"),
        # Read backwards, each is one range of one user's todos, newest first.
        Index("todos_by_user", "user_id", "created_at", "id"),
        Index("todos_by_user_and_completion", "user_id", "is_completed", "created_at", "id"),
        CheckConstraint(
            f"char_length(idempotency_key) BETWEEN 1 AND {IDEMPOTENCY_KEY_MAX}", name="idempotency_key_length"
        ),
        Index(
            "todos_by_idempotency_key",
            "user_id",
            "idempotency_key",
            unique=True,
            postgresql_where=column("idempotency_key").is_not(None),
        ),
    )

    id: UUID = Field(sa_column=Column(Uuid, primary_key=True, server_default=func.gen_random_uuid()))
    user_id: str = Field(sa_column=Column(Text, ForeignKey("users.id", ondelete="CASCADE"), nullable=False))
    title: str = Field(sa_column=Column(Text, nullable=False))
    description: str | None = Field(sa_column=Column(Text))
    is_completed: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=false()))
    created_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False, server_default=func.now()))
    updated_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False, server_default=func.now()))
    idempotency_key: str | None = Field(sa_column=Column(Text))
    request_hash: bytes | None = Field(sa_column=Column(LargeBinary))
    """What the create that brought the key asked for, to tell a retry from another request with the same key."""


# --- field types ------------------------------------------------------------------------------------------------------

# The characters with the Unicode property White_Space. Python's str.strip(), pydantic and PostgreSQL each
# take another set for white space, so titles are trimmed here and nowhere else.
_WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_NOT_IN_A_LINE = re.compile("[\x00-\x1f\ud800-\udfff]")
_NOT_IN_TEXT = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff]")

# The same rules as regular expressions that every language reads, for the OpenAPI document. What is trimmed or
# rewritten before it is counted has no `maxLength` there: that would count what was sent.
_SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_INK = rf"[^\x00-\x1f{_SPACE}]"
TITLE_PATTERN = rf"^[{_SPACE}]*{_INK}([^\x00-\x1f]{{0,{TITLE_MAX - 2}}}{_INK})?[{_SPACE}]*$"
DESCRIPTION_PATTERN = rf"^(\r\n|[^\x00-\x08\x0b-\x1f]){{0,{DESCRIPTION_MAX}}}$"


def _title(value: str) -> str:
    title = value.strip(_WHITE_SPACE)
    if not title:
        raise PydanticCustomError("blank", "Must not be blank")
    if len(title) > TITLE_MAX:
        raise PydanticCustomError("too_long", f"Must have at most {TITLE_MAX} characters")
    if _NOT_IN_A_LINE.search(title):
        raise PydanticCustomError("characters", "Must not contain control characters or lone surrogates")
    return title


def _description(value: str) -> str:
    description = value.replace("\r\n", "\n")
    if len(description) > DESCRIPTION_MAX:
        raise PydanticCustomError("too_long", f"Must have at most {DESCRIPTION_MAX:,} characters")
    if _NOT_IN_TEXT.search(description):
        raise PydanticCustomError(
            "characters", "Must not contain control characters other than tab and newline, or lone surrogates"
        )
    return description


def _canonical_uuid(value: Any) -> UUID:
    """Only the form of RFC 9562, section 4: `uuid.UUID` also takes braces, `urn:uuid:` and no hyphens."""
    try:
        parsed = UUID(value)
    except ValueError:
        parsed = None
    if parsed is None or str(parsed) != value.lower():
        raise PydanticCustomError("uuid", "Must be a UUID")
    return parsed


def _query_bool(value: Any) -> bool:
    if value not in ("true", "false"):
        raise PydanticCustomError("boolean", "Must be true or false")
    return bool(value == "true")


def _query_int(value: Any) -> Any:
    """Only digits: pydantic also reads `+5`, `5.0`, ` 5` and `1_0` as integers."""
    if isinstance(value, str) and not re.fullmatch("-?[0-9]{1,20}", value):
        raise PydanticCustomError("integer", "Must be an integer")
    return value


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _rfc3339(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _documented(json_type: str | list[str], description: str, example: Any, **limits: Any) -> WithJsonSchema:
    """How a type stands in the OpenAPI document: what it means and takes, with one example."""
    return WithJsonSchema({"type": json_type, "description": description, **limits, "examples": [example]})


_STRING_OR_NULL = ["string", "null"]

Title = Annotated[
    str,
    AfterValidator(_title),
    _documented(
        "string",
        f"1 to {TITLE_MAX} characters (Unicode code points) after white space at both ends is trimmed. "
        "No control characters (U+0000 to U+001F).",
        "Buy milk",
        minLength=1,
        pattern=TITLE_PATTERN,
    ),
]
Description = Annotated[
    Annotated[str, AfterValidator(_description)] | None,
    _documented(
        _STRING_OR_NULL,
        f"At most {DESCRIPTION_MAX:,} characters (Unicode code points), where CRLF counts, and is stored, as LF. No "
        "control characters but tab and newline. Null means none, an empty string deliberately empty.",
        "Two of them",
        pattern=DESCRIPTION_PATTERN,
    ),
]
IsCompleted = Annotated[
    StrictBool, _documented("boolean", "Whether the todo is done: false unless a request says so.", example=True)
]
Id = Annotated[
    UUID,
    _documented("string", "The todo's id, made by the server.", "0b2b5ea0-6a3f-4c1e-9a55-3c1f6b7d2f10", format="uuid"),
]
TodoId = Annotated[Id, BeforeValidator(_canonical_uuid)]
UserId = Annotated[
    str,
    _documented(
        "string", "Whose todo it is: the caller.", "alice", minLength=1, maxLength=USER_ID_MAX, pattern="^[!-~]+$"
    ),
]
StoredTitle = Annotated[
    str,
    _documented(
        "string", "As sent, but trimmed.", "Buy milk", minLength=1, maxLength=TITLE_MAX, pattern=r"^[^\x00-\x1f]+$"
    ),
]
StoredDescription = Annotated[
    str | None,
    _documented(
        _STRING_OR_NULL,
        "As sent, but with LF for CRLF. Null means none.",
        "Two of them",
        maxLength=DESCRIPTION_MAX,
        pattern=r"^[^\x00-\x08\x0b-\x1f]*$",
    ),
]
_TIME = {
    "format": "date-time",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$",
    "example": "2026-11-20T09:30:00.123456Z",
}
CreatedAt = Annotated[
    datetime, PlainSerializer(_rfc3339), _documented("string", "When it was created (RFC 3339, UTC).", **_TIME)
]
UpdatedAt = Annotated[
    datetime,
    PlainSerializer(_rfc3339),
    _documented("string", "When it last changed: as created at first, and later with every change.", **_TIME),
]


# --- request bodies ---------------------------------------------------------------------------------------------------


class TodoWrite(BaseModel):
    """The whole of a todo that a client decides: the body of create and of replace."""

    model_config = ConfigDict(extra="forbid")

    title: Title
    description: Description = None
    is_completed: IsCompleted = False

    def digest(self) -> bytes:
        """SHA-256 of what is asked for: equal for equal wishes, also where one spells out a default."""
        return sha256(self.model_dump_json(exclude_defaults=True).encode()).digest()


class TodoUpdate(BaseModel):
    """A JSON merge patch (RFC 7396): an absent field keeps its value, null clears the description."""

    model_config = ConfigDict(extra="forbid")

    # The defaults only mark a field as absent; `model_fields_set` tells which were sent.

    title: Title = Field(default_factory=str)
    description: Description = Field(default_factory=str)
    is_completed: IsCompleted = Field(default_factory=bool)


# --- responses --------------------------------------------------------------------------------------------------------


class TodoPublic(BaseModel):
    """A todo as its owner sees it."""

    model_config = ConfigDict(from_attributes=True)

    id: Id
    user_id: UserId
    title: StoredTitle
    description: StoredDescription
    is_completed: IsCompleted
    created_at: CreatedAt
    updated_at: UpdatedAt

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


CURSOR_PATTERN = "^[A-Za-z0-9_-]{35}$"
_SOME_CURSOR = "AQEABmCx41rYQAsrXqBqP0wemlU8H2t9LxA"


class TodoPage(BaseModel):
    """One page of the caller's todos, newest first; `next_cursor` is null on the last page."""

    items: Annotated[list[TodoPublic], Field(max_length=PAGE_MAX, description="The todos of this page.")]
    next_cursor: Annotated[
        str | None, _documented(_STRING_OR_NULL, "The cursor of the next page.", _SOME_CURSOR, pattern=CURSOR_PATTERN)
    ]


# --- the list's parameters --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cursor:
    """A place in the list: just after the todo with this creation time and id, under this filter.

    Its text is opaque to clients: base64url of the order's version, the filter, and the place.
    """

    created_at: datetime
    id: UUID
    is_completed: bool | None

    def __str__(self) -> str:
        place = (_microseconds(self.created_at), self.id.bytes)
        packed = _CURSOR.pack(_NEWEST_FIRST, _FILTERS.index(self.is_completed), *place)
        return urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read a cursor's text.

        Raises:
            ValueError: this API did not make the text, or made it for another order.
        """
        try:
            order, filter_index, microseconds, uuid_bytes = _CURSOR.unpack(urlsafe_b64decode(text + "="))
            cursor = cls(_moment(microseconds), UUID(bytes=uuid_bytes), _FILTERS[filter_index])
        except (struct.error, IndexError, OverflowError) as malformed:
            raise ValueError("not a cursor") from malformed
        if order != _NEWEST_FIRST or str(cursor) != text:
            raise ValueError("not a cursor")
        return cursor


_CURSOR = struct.Struct(">BBq16s")
_NEWEST_FIRST = 1
_FILTERS = (None, False, True)


def _query_cursor(value: Any) -> Cursor:
    try:
        return Cursor.parse(value)
    except ValueError:
        raise PydanticCustomError("cursor", "Must be a next_cursor of this list, unchanged") from None


class TodoQuery(BaseModel):
    """The list's query parameters."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    limit: Annotated[
        int,
        Field(ge=1, le=PAGE_MAX, description="How many todos a page has at most.", schema_extra={"examples": [20]}),
        BeforeValidator(_query_int),
    ] = PAGE_DEFAULT
    is_completed: Annotated[
        Annotated[bool, BeforeValidator(_query_bool)] | None,
        _documented("boolean", "Only todos that are done, or only those that are not.", example=False),
    ] = None
    cursor: Annotated[
        Annotated[Cursor, BeforeValidator(_query_cursor)] | None,
        _documented(
            "string",
            "A `next_cursor` of an earlier page with the same `is_completed`, unchanged.",
            _SOME_CURSOR,
            pattern=CURSOR_PATTERN,
        ),
    ] = None

    @field_validator("cursor")
    @classmethod
    def _made_for_this_filter(cls, cursor: Cursor | None, info: ValidationInfo) -> Cursor | None:
        if cursor and "is_completed" in info.data and cursor.is_completed != info.data["is_completed"]:
            raise PydanticCustomError("cursor", "Must be used with the is_completed that it was made with")
        return cursor


# --- request headers --------------------------------------------------------------------------------------------------

_IDEMPOTENCY_KEY = re.compile(rf"[\x21-\x7e]{{1,{IDEMPOTENCY_KEY_MAX}}}")


def _idempotency_key(value: str) -> str:
    if not _IDEMPOTENCY_KEY.fullmatch(value):
        raise PydanticCustomError("idempotency_key", f"Must be 1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters")
    return value


IdempotencyKey = Annotated[
    Annotated[str, AfterValidator(_idempotency_key)] | None,
    _documented(
        "string",
        "Makes it safe to send the create again: the first with this key makes the todo, later ones answer with it.",
        "4f1c2a7e-9d35-4a7b-8f0e-2b6c1d3e5a90",
        minLength=1,
        maxLength=IDEMPOTENCY_KEY_MAX,
        pattern="^[!-~]+$",
    ),
]
