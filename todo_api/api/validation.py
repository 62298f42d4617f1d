"""What is invalid in a request, in the API's own words."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field

ERRORS_MAX = 20


class InvalidPart(BaseModel):
    """An invalid part of the request."""

    model_config = ConfigDict(validate_by_name=True)

    part: Annotated[
        Literal["body", "query", "path", "header"],
        Field(alias="in", description="Where it is."),
    ]
    field: Annotated[
        str, Field(description="Its name; empty for the whole body, and for odd names.")
    ]
    detail: Annotated[str, Field(description="What is wrong with it, for people.")]


def invalid_parts(error: RequestValidationError) -> Sequence[InvalidPart]:
    """Return the first invalid parts."""
    return [_invalid_part(found) for found in error.errors()[:ERRORS_MAX]]


def _invalid_part(found: Mapping[str, Any]) -> InvalidPart:
    part, *names = found["loc"]
    name = ".".join(map(str, names))
    # The name of an unknown field is user input: repeat it only if it is a plain identifier.
    is_plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", name)
    return InvalidPart(
        part=part,
        field=name if is_plain else "",
        detail=_DETAILS.get(found["type"]) or found["msg"],
    )


_DETAILS = {
    "bool_parsing": "Must be true or false",
    "bool_type": "Must be true or false",
    "extra_forbidden": "Unknown field or parameter",
    "int_parsing": "Must be a whole number",
    "missing": "Is required",
    "model_attributes_type": "Must be a JSON object",
    "string_pattern_mismatch": "Must be visible ASCII characters",
    "string_too_short": "Must not be blank",
    "string_type": "Must be a string",
    "string_unicode": "Must not contain lone surrogates",
    "uuid_parsing": "Must be a UUID",
}
"""Replace pydantic's messages that are for programmers, or repeat the input (`uuid_parsing`).

The only pattern is that of visible ASCII, and the only least length is 1.
"""
