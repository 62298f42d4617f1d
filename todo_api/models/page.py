"""The list of todos: its query parameters, its pages and its cursors."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from todo_api.models.todo import TodoPublic, rfc3339

PAGE_DEFAULT = 50
PAGE_MAX = 100

_SOME_CURSOR = (
    "MjAyNi0xMS0yMFQwOTozMDowMC4xMjM0NTZaIDBiMmI1ZWEwLTZhM2YtNGMxZS05YTU1LTNjMWY2YjdkMmYxMCBGYWxzZQ"
)


class TodoPage(BaseModel):
    """One page of the caller's todos, newest first; `next_cursor` is null on the last page."""

    items: Annotated[list[TodoPublic], Field(description="The todos of this page.")]
    next_cursor: Annotated[
        str | None, Field(description="The cursor of the next page.", examples=[_SOME_CURSOR])
    ]


@dataclass(frozen=True)
class Cursor:
    """A position in the list: after the todo with this creation time and id, with this filter."""

    created_at: datetime
    id: UUID
    is_completed: bool | None

    def __str__(self) -> str:
        """Format as base64url, so that clients treat it as opaque."""
        text = f"{rfc3339(self.created_at)} {self.id} {self.is_completed}"
        return urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Parse what `__str__` returned.

        Raises:
            ValueError: it is any other text.
        """
        with suppress(ValueError, KeyError, OverflowError):
            created_at, id_, is_completed = urlsafe_b64decode(text + "==").decode().split(" ")
            cursor = cls(datetime.fromisoformat(created_at), UUID(id_), _FILTERS[is_completed])
            if str(cursor) == text:
                return cursor
        raise PydanticCustomError("cursor", "Must be a next_cursor of this list")


_FILTERS = {str(value): value for value in (None, False, True)}


class TodoQuery(BaseModel):
    """The list's query parameters."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    limit: Annotated[
        int, Field(ge=1, le=PAGE_MAX, description="The maximum number of todos.", examples=[20])
    ] = PAGE_DEFAULT
    is_completed: Annotated[
        bool | None, Field(description="Only completed todos, or only open ones.", examples=[False])
    ] = None
    cursor: Annotated[
        Annotated[Cursor, BeforeValidator(Cursor.parse), WithJsonSchema({"type": "string"})] | None,
        Field(
            description="The `next_cursor` of an earlier page with the same `is_completed`.",
            examples=[_SOME_CURSOR],
        ),
    ] = None

    @field_validator("cursor")
    @classmethod
    def _belongs_to_filter(cls, cursor: Cursor | None, info: ValidationInfo) -> Cursor | None:
        if cursor is None or "is_completed" not in info.data:
            return cursor
        if cursor.is_completed != info.data["is_completed"]:
            raise PydanticCustomError("cursor", "Must be used with the same is_completed as before")
        return cursor
