"""The bodies of todos: of requests, of responses, and the query of the list."""

from hashlib import sha256
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    field_validator,
    model_validator,
)

from todo_api.models.fields import (
    RESPONSE,
    CreatedAt,
    Description,
    Etag,
    Id,
    OwnerId,
    Title,
    UpdatedAt,
    drop_server_fields,
)
from todo_api.models.page import PAGE_DEFAULT, CursorParameter, Limit, NextCursor, check_filters

IsCompleted = Annotated[
    StrictBool, Field(description="Whether the todo is done.", examples=[False])
]
# Many generated clients send null for what was not set.
IsCompletedOrNull = Annotated[
    StrictBool | None,
    AfterValidator(bool),
    Field(description="Whether the todo is done. Null and absent mean false.", examples=[False]),
]


class TodoCreate(BaseModel):
    """The body of create and of replace: all fields that callers set.

    The fields that the server makes are ignored, so a todo that was read can be sent back.
    """

    model_config = ConfigDict(extra="forbid")

    title: Title
    description: Description = None
    is_completed: IsCompletedOrNull = False

    _drop_server_fields = model_validator(mode="before")(drop_server_fields)

    def request_hash(self) -> bytes:
        """SHA-256 of the normalized request, to detect a reused idempotency key."""
        return sha256(self.model_dump_json(exclude_defaults=True).encode()).digest()


class TodoUpdate(BaseModel):
    """The body of update, a JSON merge patch (RFC 7396): absent fields keep their values.

    The fields that the server makes are ignored, so a todo that was read can be sent back.
    """

    model_config = ConfigDict(extra="forbid")

    # The defaults are never used: `exclude_unset` drops the fields that were not sent.
    title: Title = ""
    description: Description = None
    is_completed: IsCompleted = False

    _drop_server_fields = model_validator(mode="before")(drop_server_fields)


class TodoPublic(BaseModel):
    """A todo."""

    model_config = RESPONSE

    id: Id
    user_id: OwnerId
    title: Annotated[
        str,
        Field(description="The title, trimmed.", examples=["Buy milk"]),
    ]
    description: Annotated[
        str | None,
        Field(
            description="The description, with LF for CRLF. Null means none.",
            examples=["Two of them"],
        ),
    ]
    is_completed: IsCompleted
    created_at: CreatedAt
    updated_at: UpdatedAt
    etag: Etag


class TodoPage(BaseModel):
    """One page of the caller's todos, newest first; `next_cursor` is null on the last page."""

    items: Annotated[
        list[TodoPublic],
        Field(description="The todos of this page."),
    ]
    next_cursor: NextCursor


class TodoQuery(BaseModel):
    """The list's query parameters. The cursor is last, because it is compared with the filters."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    limit: Limit = PAGE_DEFAULT
    is_completed: Annotated[
        bool | None,
        Field(description="Only completed todos, or only open ones.", examples=[False]),
    ] = None
    cursor: CursorParameter = None

    _check_filters = field_validator("cursor")(check_filters)
