"""Responses, compared with the schemas that document them."""

from typing import Any

from tests.support.documents.operations import Operation, Schema
from tests.support.http.clients import Response


def undocumented(operation: Operation, response: Response) -> list[str]:
    """Return the keys of a JSON response that its schema in the document does not name.

    FastAPI sends them where an endpoint returns a response of its own, whatever its model is.
    """
    if not response.body or "json" not in response.headers["content-type"]:
        return []
    return _unnamed(response.json(), operation.responses.get(str(response.status), {}))


def _unnamed(value: Any, schema: Schema) -> list[str]:
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return min((_unnamed(value, part) for part in schema[key]), key=len)
    if isinstance(value, list):
        items = schema.get("items", {})
        found = {f"[].{key}" for each in value for key in _unnamed(each, items)}
        return sorted(found)
    if not isinstance(value, dict):
        return []
    named = dict(schema.get("properties", {}))
    for part in schema.get("allOf", []):
        named.update(part.get("properties", {}))
    rest = schema.get("additionalProperties")
    keys = []
    for name, member in value.items():
        if name in named:
            keys += [f"{name}.{key}" for key in _unnamed(member, named[name])]
        elif isinstance(rest, dict):
            keys += [f"{name}.{key}" for key in _unnamed(member, rest)]
        else:
            keys.append(name)
    return keys
