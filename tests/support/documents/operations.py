"""The operations of the API, as its OpenAPI document describes them."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

from tests.support.http.clients import Api

Schema = dict[str, Any]


CHOICES = {
    "If-Match": ("current", "stale", "*"),
    "If-None-Match": ("current", "stale", "*"),
    "Idempotency-Key": ("new", "repeated", "reused"),
}
"""What is sent in these header fields. Every other option has its example and `other_values`."""


class CannotSend(Exception):
    """The document does not say how to send a request; the message names the operation."""


@dataclass(frozen=True)
class Option:
    """A query parameter, a header field or a member of the body."""

    place: str  # "query", "header" or "body"
    name: str
    schema: Schema = field(compare=False)
    is_required: bool

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Operation:
    """An operation: its name is the document's `operationId`."""

    name: str
    method: str
    path: str  # with `{id}` for the id of an item
    needs_user: bool
    options: tuple[Option, ...]
    has_body: bool
    description: Schema = field(compare=False)
    """What the document says about it."""

    responses: dict[str, Schema] = field(compare=False)
    """The schema of each JSON response, by status."""

    def __str__(self) -> str:
        return self.name

    @property
    def uses_the_database(self) -> bool:
        """Whether it has a response for a database that is not available."""
        return "503" in self.description["responses"]

    @property
    def creates(self) -> bool:
        """Whether it adds an item to a collection."""
        return self.method == "POST" and "201" in self.description["responses"]

    @property
    def ids(self) -> list[str]:
        """The names of the ids in the path."""
        return re.findall(r"{(\w+)}", self.path)


def operations_of(api: Api) -> list[Operation]:
    """Return the operations of the document that an application answers with."""
    return operations_in(api("GET", "/openapi.json").json())


def operations_in(document: Schema) -> list[Operation]:
    """Return the operations of a document."""
    return [
        _operation(document, path, method, description)
        for path, methods in document["paths"].items()
        for method, description in methods.items()
    ]


def _operation(document: Schema, path: str, method: str, description: Schema) -> Operation:
    name = description["operationId"]
    options = []
    for parameter in description.get("parameters", []):
        place = parameter["in"]
        if place not in ("path", "query", "header"):
            raise CannotSend(f"{name}: {parameter['name']} is in the {place}")
        if place != "path":
            schema = parameter["schema"]
            if "example" in parameter:
                schema = schema | {"examples": [parameter["example"]]}
            is_required = parameter.get("required", False)
            options.append(Option(place, parameter["name"], schema, is_required))
    body = description.get("requestBody")
    if body:
        if "application/json" not in body["content"]:
            raise CannotSend(f"{name}: its body is not application/json")
        schema = _resolved(document, body["content"]["application/json"]["schema"])
        required = schema.get("required", [])
        for member, described in schema.get("properties", {}).items():
            options.append(Option("body", member, described, member in required))
    return Operation(
        name=name,
        method=method.upper(),
        path=path,
        needs_user=bool(description.get("security", document.get("security"))),
        options=tuple(options),
        has_body=body is not None,
        description=description,
        responses={
            status: _resolved(document, content.get("schema", {}))
            for status, response in description.get("responses", {}).items()
            for media_type, content in response.get("content", {}).items()
            if media_type.endswith("json")
        },
    )


def _resolved(document: Schema, schema: Schema) -> Schema:
    """Return a schema with those that it refers to in place of the references."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/components/schemas/")
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return _resolved(document, document["components"]["schemas"][name]) | rest
    parts: Schema = {}
    if "items" in schema:
        parts["items"] = _resolved(document, schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        parts["additionalProperties"] = _resolved(document, schema["additionalProperties"])
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            parts[key] = [_resolved(document, each) for each in schema[key]]
    if "properties" in schema:
        properties = schema["properties"].items()
        parts["properties"] = {name: _resolved(document, member) for name, member in properties}
    return schema | parts


def example_of(schema: Schema) -> Any:
    """Return the example of a value: its own, or one made of the examples of its parts.

    Raises:
        LookupError: there is none.
    """
    if "examples" in schema:
        return schema["examples"][0]
    for key in ("example", "const", "default"):
        if key in schema:
            return schema[key]
    if "enum" in schema:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return example_of(schema[key][0])
    if "properties" in schema:
        return {name: example_of(member) for name, member in schema["properties"].items()}
    if "items" in schema:
        return [example_of(schema["items"])]
    if schema.get("type") == "boolean":
        return False
    raise LookupError


def other_values(schema: Schema) -> dict[str, Any]:
    """Return each value of a boolean or an enumeration, also within a value, but its example.

    Raises:
        LookupError: there is no example.
    """
    values = list(_values(schema))
    return {json.dumps(value): value for value in values if value != example_of(schema)}


def _values(schema: Schema) -> Iterator[Any]:
    if schema.get("type") == "boolean":
        yield from (False, True)
    yield from schema.get("enum", [])
    if "const" in schema:
        yield schema["const"]
    for key in ("anyOf", "oneOf", "allOf"):
        for part in schema.get(key, []):
            yield from _values(part)
    if "items" in schema:
        for value in _values(schema["items"]):
            yield [value]
    for name, member in schema.get("properties", {}).items():
        for value in _values(member):
            yield example_of(schema) | {name: value}


def _choices(option: Option) -> tuple[str, ...]:
    if option.name in CHOICES:
        return CHOICES[option.name]
    try:
        return ("example", *other_values(option.schema))
    except LookupError:
        return ("example",)  # which cannot be sent: the walk names the option


def variants(operation: Operation) -> Iterator[tuple[str, dict[Option, str]]]:
    """Yield names and choices: no option, each choice of each option alone, and all together."""
    choices = {option: _choices(option) for option in operation.options}
    if not operation.has_body:  # no other body can have the same key
        for option, those in choices.items():
            choices[option] = tuple(choice for choice in those if choice != "reused")
    first = {option: those[0] for option, those in choices.items()}
    required = {option: choice for option, choice in first.items() if option.is_required}
    yield operation.name, required
    for option, those in choices.items():
        for choice in those:
            if required.get(option) != choice:
                name = f"{operation.name} with {option}: {choice}"
                yield name, {**required, option: choice}
    if len(first) > len(required) + 1:
        yield f"{operation.name} with all options", first
        for option, those in choices.items():
            if option.name not in CHOICES:
                continue  # no item need match all filters with this value
            for choice in those[1:]:
                name = f"{operation.name} with all options, {option}: {choice}"
                yield name, {**first, option: choice}


def missing_like(item_id: Any) -> str:
    """Return an id of the same kind that no item has."""
    try:
        UUID(str(item_id))
    except ValueError:
        return f"{item_id}{10**9}"
    return str(uuid4())


def path_with(path: str, ids: Sequence[str]) -> str:
    """Return the path of an operation with these ids."""
    for item_id in ids:
        path = re.sub(r"{\w+}", quote(item_id, safe=""), path, count=1)
    return path
