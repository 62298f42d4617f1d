"""Pages of a list, newest first, and the cursors between them, with any filters."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, Field, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from todo_api.models.fields import SOME_ID, SOME_TIME, rfc3339

PAGE_DEFAULT = 50
PAGE_MAX = 100


@dataclass(frozen=True)
class Cursor:
    """A position in a list: after the row with this creation time and id, with these filters."""

    created_at: datetime
    id: UUID
    filters: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Format as base64url, so that clients treat it as opaque."""
        values = [rfc3339(self.created_at), str(self.id), _texts(self.filters)]
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Parse what `__str__` returned.

        Raises:
            ValueError: it is any other text.
        """
        try:
            created_at, id_, filters = json.loads(urlsafe_b64decode(text + "=="))
            cursor = cls(datetime.fromisoformat(created_at), UUID(id_), filters)
            is_ours = str(cursor) == text
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            is_ours = False
        if not is_ours:
            raise PydanticCustomError("cursor", "Must be a next_cursor of this list")
        return cursor


def _texts(filters: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in filters.items()}


def filters_of(query: BaseModel) -> dict[str, Any]:
    """Return the filters that a list's query has: its parameters but for `limit` and `cursor`."""
    return _filters(vars(query))


def _filters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in parameters.items()
        if name not in ("limit", "cursor") and value is not None
    }


def check_filters(cursor: Cursor | None, info: ValidationInfo) -> Cursor | None:
    """Refuse the cursor of a list with other filters (a validator of the field `cursor`)."""
    if cursor is not None and cursor.filters != _texts(_filters(info.data)):
        raise PydanticCustomError("cursor", "Must be used with the same filters as before")
    return cursor


_SOME_CURSOR = str(Cursor(datetime.fromisoformat(SOME_TIME), UUID(SOME_ID)))

Limit = Annotated[
    int,
    Field(ge=1, le=PAGE_MAX, description="The maximum number of items.", examples=[20]),
]
_ParsedCursor = Annotated[
    Cursor,
    BeforeValidator(Cursor.parse),
    WithJsonSchema({"type": "string"}),
]
CursorParameter = Annotated[
    _ParsedCursor | None,
    Field(
        description="The `next_cursor` of an earlier page with the same filters.",
        examples=[_SOME_CURSOR],
    ),
]
NextCursor = Annotated[
    str | None,
    Field(description="The cursor of the next page.", examples=[_SOME_CURSOR]),
]
