"""The OpenAPI document against real responses: examples, statuses and errors."""

import json
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from tests.support.documents import pages
from tests.support.documents.openapi import (
    OPERATIONS,
    body_example,
    request_for,
    request_to_new_item,
)
from tests.support.documents.statuses import CHANGES, request_that_causes
from tests.support.http.apps import app_on
from tests.support.http.clients import Api, Response
from todo_api.database.engine import Database
from todo_api.database.errors import DatabaseUnavailable
from todo_api.database.readiness import NotReady
from todo_api.models.page import Cursor
from todo_api.models.todos import TodoPublic

PARAMETERS = {
    node["name"]: node["schema"]["examples"]
    for operation in OPERATIONS.values()
    for node in operation.description.get("parameters", [])
}
"""The examples of each parameter."""

COMMON_HEADERS = {
    *("content-type", "content-length", "vary"),
    *("x-request-id", "cache-control", "x-content-type-options"),
}
"""Header fields of HTTP, CORS and every response, which the document only describes in its text."""

OPTIONAL_HEADERS = {"idempotency-replayed", "accept-patch", "accept-encoding"}
"""Header fields that only some responses with a status have."""


def _documented_response(operation_id: str, response: Response) -> dict[str, Any]:
    """Check status, content type and headers of a response.

    Returns the part of the document that describes it.
    """
    responses: dict[str, dict[str, Any]] = OPERATIONS[operation_id].description["responses"]
    assert str(response.status) in responses, (operation_id, response)
    documented = responses[str(response.status)]
    names = {name.lower() for name in documented.get("headers", {})}
    assert names - OPTIONAL_HEADERS <= set(response.headers) - COMMON_HEADERS <= names
    assert list(documented.get("content", {})) == (
        [response.headers["content-type"]] if response.body else []
    )
    return documented


def _without_generated_values(value: dict[str, Any]) -> Any:
    """A JSON object with a placeholder for each ID, time, entity tag and cursor."""
    request_id = {"request_id": "*"} if "request_id" in value else {}
    return json.loads(pages.without_generated_values(json.dumps(value | request_id)))


# --- examples -------------------------------------------------------------------------------------


def test_example_of_a_todo_is_the_response_to_the_request_example(lambda_api: Api) -> None:
    """All fields are equal, except IDs and times.

    The examples of the parameters belong to the same todo.
    """
    request = request_to_new_item(lambda_api, "createTodo")
    response = lambda_api(**request)
    example = body_example(_documented_response("createTodo", response))
    expected = example | {"user_id": request["user"]}
    assert _without_generated_values(response.json()) == _without_generated_values(expected)
    public = TodoPublic.model_validate(example)
    assert public.model_dump(mode="json") == example
    assert PARAMETERS["If-Match"] == PARAMETERS["If-None-Match"] == [public.etag]
    cursor = Cursor(public.created_at, public.id)  # without a filter, so that it is valid alone
    assert PARAMETERS["cursor"] == [str(cursor)]


def test_each_operation_accepts_its_examples(lambda_api: Api) -> None:
    """Each parameter, each header and each content type is sent in a request of its own."""
    for operation_id, operation in OPERATIONS.items():
        description = operation.description
        queries: list[dict[str, str]] = [{}]
        headers: list[dict[str, str]] = [{}]
        for parameter in description.get("parameters", []):
            example = json.dumps(parameter["schema"]["examples"][0]).strip('"')
            if parameter["in"] == "query":
                queries.append({parameter["name"]: example})
            elif parameter["in"] == "header":
                headers.append({parameter["name"]: parameter["schema"]["examples"][0]})
        for media_type in description.get("requestBody", {}).get("content", {}):
            headers.append({"Content-Type": media_type})
        without: dict[str, str] = {}
        requests = [(query, without) for query in queries]
        requests += [(without, header) for header in headers]
        for query, header in requests:
            request = request_to_new_item(lambda_api, operation_id)
            path = f"{request['path']}?{urlencode(query)}"
            response = lambda_api(**request | {"path": path}, headers=header)
            _documented_response(operation_id, response)
            # The version in the example of If-Match is never the version of this todo.
            expected = (412,) if "If-Match" in header else (200, 201, 204)
            assert response.status in expected, (operation_id, query, header, response)
    assert lambda_api("GET", f"/v1/todos/{PARAMETERS['id'][0]}", user="alice").status == 404


def test_what_was_read_can_be_sent_back_to_each_item(lambda_api: Api) -> None:
    """In every resource, the fields that the server makes are ignored in a body."""
    for operation_id, operation in OPERATIONS.items():
        if operation.method in ("PUT", "PATCH") and operation.path.endswith("/{id}"):
            request = request_to_new_item(lambda_api, operation_id)
            read = lambda_api("GET", request["path"], user=request["user"]).json()
            response = lambda_api(**request | {"json": read})
            assert response.status == 200, (operation_id, response)
            version = {name: response.json()[name] for name in ("updated_at", "etag")}
            assert response.json() == read | version


# --- statuses and errors --------------------------------------------------------------------------


def _error_examples(documented: dict[str, Any]) -> dict[str, Any]:
    examples = documented["content"]["application/problem+json"]["examples"]
    return {name: _without_generated_values(example["value"]) for name, example in examples.items()}


def test_each_status_occurs_exactly_where_it_is_listed(lambda_api: Api) -> None:
    """Each error is also one of the operation's examples."""
    listed = {
        int(status)
        for operation in OPERATIONS.values()
        for status in operation.description["responses"]
    }
    assert listed - {409} == {200, 201, 204, *CHANGES, 500, 503, 504} - {409}
    for operation_id, operation in OPERATIONS.items():
        for status in CHANGES:
            response = lambda_api(**request_that_causes(status, lambda_api, operation_id))
            documented = _documented_response(operation_id, response)
            is_listed = str(status) in operation.description["responses"]
            assert (response.status == status) == is_listed, (operation_id, response)
            if response.status >= 400:
                examples = [
                    example | {"errors": None} for example in _error_examples(documented).values()
                ]
                assert _without_generated_values(response.json()) | {"errors": None} in examples


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (RuntimeError(), 500, "internal-error"),
        (
            DatabaseUnavailable(may_have_run=True, phase="execute", reason="for this test"),
            504,
            "database-unavailable-outcome-unknown",
        ),
        (NotReady("for this test"), 503, "not-ready"),
    ],
)
def test_500_503_and_504_occur_exactly_where_they_are_listed(
    lambda_api: Api, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, name: str
) -> None:
    def session(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Database, "session", session)
    for operation_id, operation in OPERATIONS.items():
        ids = [str(uuid4()) for _ in operation.ids]
        response = lambda_api(**request_for(operation_id, *ids))
        documented = _documented_response(operation_id, response)
        is_listed = str(status) in operation.description["responses"]
        assert (response.status == status) == is_listed
        if response.status == status and (name != "not-ready" or operation_id == "checkReadiness"):
            assert _without_generated_values(response.json()) == _error_examples(documented)[name]


def test_error_examples_of_specific_operations_match_their_responses(lambda_api: Api) -> None:
    retrieve = request_to_new_item(lambda_api, "retrieveTodo")

    def call(method: str, path: str, **request: Any) -> Response:
        return lambda_api(method, path, user=retrieve["user"], **request)

    todos = "/v1/todos"
    todo = str(retrieve["path"])
    key = {"Idempotency-Key": str(uuid4())}
    call("POST", todos, json={"title": "one"}, headers=key)
    without_database = app_on("postgresql://nobody@127.0.0.1:1/none", database_timeout_seconds=0.3)
    unavailable = without_database("GET", todos, user="alice")
    for operation_id, name, response in [
        ("replaceTodo", "invalid-request", call("PUT", todo, json={"title": " "})),
        (
            "createTodo",
            "idempotency-key-reused",
            call("POST", todos, json={"title": "another"}, headers=key),
        ),
        (
            "updateTodo",
            "unsupported-media-type",
            call("PATCH", todo, body="x", headers={"Content-Type": "text/plain"}),
        ),
        ("listTodos", "database-unavailable-not-executed", unavailable),
    ]:
        documented = _documented_response(operation_id, response)
        assert _without_generated_values(response.json()) == _error_examples(documented)[name]
