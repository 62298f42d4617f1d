"""One walk over the API: each operation, with each of its options, as its document describes it.

Values are the document's examples, except for what belongs to the caller: ids come from a POST to
the path before them, cursors from a page, entity tags from the item, and a `list_id` from a POST to
`/v1/lists`. Texts of bodies have a number, because a value may be unique.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any
from urllib.parse import urlencode

from tests.support.documents.operations import (
    CannotSend,
    Operation,
    Option,
    Schema,
    example_of,
    missing_like,
    operations_of,
    other_values,
    path_with,
    variants,
)
from tests.support.http.clients import Api, Response

EXPECTED = {("If-Match", "stale"): 412, ("Idempotency-Key", "reused"): 422}
"""The status of the choices that the API has to refuse."""

_numbers = count(1)


@dataclass(frozen=True)
class Request:
    """A request that the document describes."""

    name: str
    operation: Operation
    choices: Mapping[Option, str]
    ids: tuple[str, ...]  # in the path
    values: Mapping[Option, Any] = field(default_factory=dict)
    references: tuple[Option, ...] = ()  # the options that refer to an item of another collection
    status: int | None = None  # the only right one, or None for each below 400

    def with_value(self, option: Option, value: object) -> "Request":
        """Return the same request with another value of an option."""
        return replace(self, values={**self.values, option: value})

    def is_answered_by(self, response: Response) -> bool:
        """Return whether the response has the expected status."""
        if self.status is not None:
            return response.status == self.status
        return response.status < 400


@dataclass
class Item:
    """An item of a collection, made for a request."""

    path: str
    id: Any
    etag: str | None


@dataclass
class Caller:
    """A user who sends what the document describes, each request to new items of their own."""

    api: Api
    user_id: str
    operations: list[Operation]
    items: list[Item] = field(default_factory=list)
    """Those of the last request of `requests`."""

    ids: set[str] = field(default_factory=set)
    """Those of every item that was made."""

    _references: dict[str, Any] = field(default_factory=dict)

    def send(self, request: Request) -> Response:
        """Send a request as this user."""
        operation = request.operation
        values: dict[str, dict[str, Any]] = {"query": {}, "header": {}, "body": {}}
        for option, value in request.values.items():
            values[option.place][option.name] = value
        query = {name: _text(value) for name, value in values["query"].items()}
        path = path_with(operation.path, request.ids)
        if query:
            path += f"?{urlencode(query, doseq=True)}"
        headers = {name: _text(value) for name, value in values["header"].items()}
        user = self.user_id if operation.needs_user else None
        body = values["body"] if operation.has_body else ...
        response = self.api(operation.method, path, user=user, headers=headers, json=body)
        if response.status == 201 and "id" in response.json():
            self.ids.add(str(response.json()["id"]))
        return response

    def requests(self, operation: Operation) -> Iterator[Request]:
        """Yield each request of an operation: without options, with each alone, and with all.

        The last one is to an item that does not exist, if the operation is about an item.

        Raises:
            CannotSend: the document does not say how.
        """
        for name, choices in variants(operation):
            self.items.clear()
            yield self.own(name, operation, choices)
        if operation.ids:
            self.items.clear()
            _, required = next(variants(operation))
            existing = self.own(f"{operation.name} of a missing item", operation, required)
            missing = tuple(missing_like(item_id) for item_id in existing.ids)
            yield replace(existing, ids=missing, status=404)

    def own(self, name: str, operation: Operation, choices: Mapping[Option, str]) -> Request:
        """Return a request to new items of this user's own.

        Raises:
            CannotSend: the document does not say how.
        """
        self._references.clear()
        items = self.create_items_in_path(operation)
        ids = tuple(str(item.id) for item in items)
        request = Request(name, operation, choices, ids)
        request = self._with_values(request, items[-1] if items else None)
        for option, choice in choices.items():
            if option.name == "cursor":
                request = request.with_value(option, self._cursor(request))
            if choice == "repeated":
                self._expect_success(request)
            if choice == "reused":
                self._expect_success(_with_another_body(request))
            if (option.name, choice) in EXPECTED:
                request = replace(request, status=EXPECTED[option.name, choice])
        return request

    def is_named_in(self, response: Response) -> bool:
        """Return whether a response contains the id of one of this user's items."""
        return any(item_id.encode() in response.body for item_id in self.ids)

    def read_items(self) -> list[tuple[int, bytes]]:
        """Return what the API answers about the items of the last request."""
        responses = [self.api("GET", item.path, user=self.user_id) for item in self.items]
        return [(response.status, response.body) for response in responses]

    def create_items_in_path(self, operation: Operation) -> list[Item]:
        """Create an item for each id in the path of an operation, each in the one before it."""
        items: list[Item] = []
        for parameter in operation.ids:
            collection = operation.path.partition(f"/{{{parameter}}}")[0]
            ids = [str(item.id) for item in items]
            items.append(self.create(operation, collection, ids))
        return items

    def create(self, operation: Operation, collection: str, ids: Sequence[str] = ()) -> Item:
        """Create an item for an operation, with every query parameter and member of the body."""
        return self._create(operation, collection, ids, is_complete=True)

    def _with_values(self, request: Request, item: Item | None) -> Request:
        references = []
        values = {}
        for option, choice in request.choices.items():
            collection = self._collection(option)
            if collection:
                references.append(option)
                if collection not in self._references:
                    referred = self._create(request.operation, collection, (), is_complete=False)
                    self._references[collection] = referred.id
                values[option] = self._references[collection]
            elif choice == "current":
                values[option] = self._etag(request, item)
            elif option.name != "cursor":
                value = _value(request.operation, option, choice)
                is_free = option.place == "body" and option.name not in self._filters
                values[option] = numbered(value, option.schema) if is_free else value
        return replace(request, values=values, references=tuple(references))

    def _collection(self, option: Option) -> str | None:
        """Return the collection of the items that `X_id` refers to, if the API has it."""
        kind = option.name.removesuffix("_id")
        if kind == option.name or kind == "user":
            return None
        names = (f"/{kind}s", f"/{kind.removesuffix('y')}ies")
        posts = [each for each in self.operations if each.method == "POST"]
        collections = [each.path for each in posts if not each.ids]
        return next((path for path in collections if path.endswith(names)), None)

    def _create(
        self, operation: Operation, collection: str, ids: Sequence[str], *, is_complete: bool
    ) -> Item:
        creations = [
            each for each in self.operations if (each.method, each.path) == ("POST", collection)
        ]
        if not creations:
            raise CannotSend(f"{operation.name}: no POST of {collection} makes an item")
        (creation,) = creations
        choices = {
            option: "example"
            for option in creation.options
            if option.is_required or (is_complete and option.place != "header")
        }
        name = f"{operation.name}, creating its item"
        request = Request(name, creation, choices, tuple(ids))
        response = self._expect_success(self._with_values(request, None))
        created = response.json()
        if "id" not in created:
            raise CannotSend(f"{operation.name}: the response of {creation.name} has no id")
        path = f"{path_with(collection, ids)}/{created['id']}"
        item = Item(path, created["id"], response.headers.get("etag"))
        self.items.append(item)
        return item

    @property
    def _filters(self) -> set[str]:
        """The names of all query parameters: items have to match their examples."""
        options = [option for each in self.operations for option in each.options]
        return {option.name for option in options if option.place == "query"}

    def _etag(self, request: Request, item: Item | None) -> str:
        if item is None or item.etag is None:
            raise CannotSend(f"{request.operation.name}: the item that it is about has no ETag")
        return item.etag

    def _cursor(self, request: Request) -> str:
        """Return the `next_cursor` of the same list with the same values of the other options."""
        operation = request.operation
        limits = [option for option in operation.options if option.name == "limit"]
        if not limits:
            raise CannotSend(f"{operation.name}: a cursor needs a limit")
        for _ in range(2):
            self.create(operation, operation.path, request.ids)  # which the filters' examples match
        response = self._expect_success(request.with_value(limits[0], 1))
        cursor = response.json().get("next_cursor")
        if cursor is None:
            raise CannotSend(f"{operation.name}: an item like the examples has no next_cursor")
        return str(cursor)

    def _expect_success(self, request: Request) -> Response:
        response = self.send(request)
        if response.status >= 400:
            raise CannotSend(f"{request.name}: {response.status} {response.body.decode()}")
        return response


def new_caller(name: str, api: Api) -> Caller:
    """Return a user of this name with two items in each collection.

    Those of a nested collection are in the same item of the collection before it.
    """
    caller = Caller(api, api.user_id(name), operations_of(api))
    for operation in caller.operations:
        if operation.creates:
            ids = [str(item.id) for item in caller.create_items_in_path(operation)]
            for _ in range(2):
                caller.create(operation, operation.path, ids)
    return caller


def _value(operation: Operation, option: Option, choice: str) -> Any:
    if choice == "*":
        return choice
    try:
        example = example_of(option.schema)
        others = other_values(option.schema)
    except LookupError:
        raise CannotSend(f"{operation.name}: no example of {option}") from None
    if choice in ("new", "repeated", "reused"):
        return f"{example}-{next(_numbers)}"
    return others.get(choice, example)


def numbered(example: Any, schema: Schema) -> Any:
    """Return the example of a text with a number at its end, if the schema lets any text pass."""
    (schema,) = schema.get("anyOf", [schema])[:1]  # the other is null
    if not isinstance(example, str) or schema.keys() & {"format", "enum", "const"}:
        return example
    number = f" {next(_numbers)}"
    length = schema.get("maxLength", len(example) + len(number))
    text = f"{example[: max(0, length - len(number))]}{number}"
    is_valid = len(text) <= length and re.search(schema.get("pattern", ""), text)
    return text if is_valid else example


def _with_another_body(request: Request) -> Request:
    for option, value in request.values.items():
        if option.place == "body" and option not in request.references and isinstance(value, str):
            return request.with_value(option, f"{value} again")
    raise CannotSend(f"{request.operation.name}: no text to change for a reused Idempotency-Key")


def _text(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, bool) else value
