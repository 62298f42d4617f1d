"""What the walk over the API's operations cannot send, it names. Tried on documents of its own."""

from json import dumps, loads
from typing import Any

import pytest

from tests.support.documents.operations import CannotSend, operations_in, operations_of
from tests.support.documents.schemas import undocumented
from tests.support.documents.walk import Caller, new_caller
from tests.support.http.clients import Api, Response

TEXT: dict[str, Any] = {"type": "string", "examples": ["x"]}
FIXED: dict[str, Any] = {"type": "string", "enum": ["x"]}
WITHOUT_EXAMPLE: dict[str, Any] = {"type": "string"}


def _operation(*parameters: tuple[str, str, dict[str, Any]], **members: Any) -> dict[str, Any]:
    """Describe an operation with these parameters, and these members of the body."""
    operation: dict[str, Any] = {
        "parameters": [
            {"in": place, "name": name, "schema": schema} for place, name, schema in parameters
        ]
    }
    if members:
        schema = {"type": "object", "properties": members}
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return operation


Received = list[tuple[str, str, Any]]


def _api(paths: dict[str, dict[str, Any]], received: Received, status: int = 200) -> Api:
    """Return an API with this document, which only keeps what it receives."""
    for path, methods in paths.items():
        for method, operation in methods.items():
            operation["operationId"] = f"{method} {path}"

    def respond(method: str, path: str, *rest: Any) -> Response:
        if path == "/openapi.json":
            return Response(200, {}, dumps({"paths": paths}).encode())
        _headers, body = rest
        received.append((method, path, body and body.decode()))
        return Response(status, {}, dumps({"id": 7, "next_cursor": None}).encode())

    return Api(respond)


def _sent(paths: dict[str, dict[str, Any]], status: int = 200) -> Received:
    """Send every request of a document, and return what an API with this document receives."""
    received: Received = []
    api = _api(paths, received, status)
    caller = Caller(api, "caller", operations_of(api))
    for operation in caller.operations:
        for request in caller.requests(operation):
            caller.send(request)
    return received


def test_options_are_sent_alone_and_together() -> None:
    search = _operation(("query", "word", TEXT), ("query", "ascending", {"type": "boolean"}))
    assert _sent({"/v1/found": {"get": search}}) == [
        ("GET", "/v1/found", None),
        ("GET", "/v1/found?word=x", None),
        ("GET", "/v1/found?ascending=false", None),
        ("GET", "/v1/found?ascending=true", None),
        ("GET", "/v1/found?word=x&ascending=false", None),
    ]


def test_each_value_of_a_boolean_or_an_enumeration_is_sent() -> None:
    color = {"type": "string", "enum": ["red", "green"], "examples": ["green"]}
    nullable = {"anyOf": [{"type": "boolean"}, {"type": "null"}], "examples": [True]}
    change = _operation(
        color=color,
        colors={"type": "array", "items": color},
        inside={"type": "object", "properties": {"word": TEXT, "flag": nullable}},
    )
    bodies = [loads(body) for _method, _path, body in _sent({"/v1/found": {"patch": change}})]
    assert bodies == [
        {},
        {"color": "green"},
        {"color": "red"},
        {"colors": ["green"]},
        {"colors": ["red"]},
        {"inside": {"word": "x", "flag": True}},
        {"inside": {"word": "x", "flag": False}},
        {"color": "green", "colors": ["green"], "inside": {"word": "x", "flag": True}},
    ]


def test_ids_and_references_are_those_of_new_items() -> None:
    received = _sent(
        {
            "/v1/lists": {"post": _operation(title=FIXED)},
            "/v1/lists/{list_id}/todos": {"get": _operation()},
            "/v1/todos": {"get": _operation(("query", "list_id", WITHOUT_EXAMPLE))},
        }
    )
    assert received[-6:] == [
        ("GET", "/v1/lists/7/todos", None),
        ("POST", "/v1/lists", '{"title": "x"}'),
        ("GET", "/v1/lists/71000000000/todos", None),
        ("GET", "/v1/todos", None),
        ("POST", "/v1/lists", "{}"),
        ("GET", "/v1/todos?list_id=7", None),
    ]


def test_a_new_caller_has_two_items_in_each_collection_and_runs_no_other_operation() -> None:
    received: Received = []
    paths: dict[str, dict[str, Any]] = {
        "/v1/lists": {"post": {"responses": {"201": {}}}},
        "/v1/lists/{id}/todos": {"post": {"responses": {"201": {}}}},
        "/v1/lists/{id}/close": {"post": {"responses": {"200": {}}}},
    }
    new_caller("caller", _api(paths, received))
    list_ = ("POST", "/v1/lists", None)
    todo = ("POST", "/v1/lists/7/todos", None)
    assert received == [list_, list_, list_, todo, todo]


def test_texts_of_bodies_differ_within_their_schema() -> None:
    sent = _sent(
        {
            "/v1/a": {
                "post": _operation(
                    free=TEXT,
                    short={"type": "string", "maxLength": 6, "examples": ["abcdef"]},
                    tiny={"type": "string", "maxLength": 1, "examples": ["x"]},
                    code={"type": "string", "pattern": "^[a-z]+$", "examples": ["abc"]},
                    time={"type": "string", "format": "date", "examples": ["2026-11-20"]},
                    nullable={"anyOf": [TEXT, {"type": "null"}]},
                    filtered=TEXT,
                    fixed=FIXED,
                ),
                "get": _operation(("query", "filtered", TEXT)),
            },
            "/v1/a/{id}": {"get": _operation()},
        }
    )
    *_, first, second = [loads(body) for method, _, body in sent if method == "POST"]
    different = {name for name in first if first[name] != second[name]}
    assert different == {"free", "short", "nullable"}
    assert len(first["short"]) == len(second["short"]) == 6
    assert (first["code"], first["tiny"], first["filtered"]) == ("abc", "x", "x")


@pytest.mark.parametrize(
    ("path", "method", "operation", "message"),
    [
        ("/v1/a", "get", _operation(("query", "word", WITHOUT_EXAMPLE)), "no example of word"),
        ("/v1/a", "post", _operation(word=WITHOUT_EXAMPLE), "no example of word"),
        ("/v1/a", "get", _operation(("query", "b_id", WITHOUT_EXAMPLE)), "no example of b_id"),
        ("/v1/a/{id}", "get", _operation(), "no POST of /v1/a"),
        ("/v1/a", "put", _operation(("header", "If-Match", TEXT)), "has no ETag"),
        ("/v1/a", "get", _operation(("query", "cursor", TEXT)), "a cursor needs a limit"),
        ("/v1/a", "get", _operation(("cookie", "word", TEXT)), "word is in the cookie"),
        ("/v1/a", "put", {"requestBody": {"content": {"text/plain": {}}}}, "not application/json"),
    ],
)
def test_what_cannot_be_sent_is_named(
    path: str, method: str, operation: dict[str, Any], message: str
) -> None:
    with pytest.raises(CannotSend, match=f"^{method} {path}: .*{message}"):
        _sent({path: {method: operation}})


def test_a_refused_creation_and_an_empty_page_are_named() -> None:
    items = {"post": _operation(title=TEXT)}
    page = _operation(("query", "limit", TEXT), ("query", "cursor", TEXT))
    with pytest.raises(CannotSend, match=r"get /v1/a/\{id\}, creating its item: 422"):
        _sent({"/v1/a": items, "/v1/a/{id}": {"get": _operation()}}, status=422)
    with pytest.raises(CannotSend, match="get /v1/a: an item like the examples has no next_cursor"):
        _sent({"/v1/a": {**items, "get": page}})


def test_keys_that_a_schema_does_not_name_are_found() -> None:
    row = {"type": "object", "properties": {"id": {"type": "integer"}}}
    nullable = {"anyOf": [{"$ref": "#/components/schemas/Row"}, {"type": "null"}]}
    members = {
        "items": {"type": "array", "items": {"$ref": "#/components/schemas/Row"}},
        "newest": nullable,
        "by_name": {"type": "object", "additionalProperties": nullable},
        "anything": {"type": "object", "additionalProperties": True},
    }
    content = {"application/json": {"schema": {"type": "object", "properties": members}}}
    operation = {**_operation(), "operationId": "list", "responses": {"200": {"content": content}}}
    document = {"paths": {"/v1/a": {"get": operation}}, "components": {"schemas": {"Row": row}}}
    (described,) = operations_in(document)

    def found(body: dict[str, Any], status: int = 200) -> list[str]:
        headers = {"content-type": "application/json"}
        return undocumented(described, Response(status, headers, dumps(body).encode()))

    whole = {"id": 7, "hash": "x"}
    assert found({"items": [{"id": 7}], "newest": None, "by_name": {"a": {"id": 7}}}) == []
    assert found({"items": [{"id": 7}, whole, whole], "newest": whole, "total": 3}) == [
        *("items.[].hash", "newest.hash", "total")
    ]
    assert found({"by_name": {"a": whole}, "anything": {"hash": "x"}}) == [
        *("by_name.a.hash", "anything.hash")
    ]
    assert found({"id": 7}, status=201) == ["id"]
