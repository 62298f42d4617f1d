"""The operations on todos: what each takes, and what it answers."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response

from todo_api.api.body import JsonRoute
from todo_api.api.dependencies import TodosDep
from todo_api.api.preconditions import IdempotencyKeyHeader, IfMatchVersions, IfNoneMatchHeader, if_none_match_matches
from todo_api.api.problems import (
    BODY_PROBLEMS,
    BODY_TOO_LARGE,
    DATABASE_PROBLEMS,
    IDEMPOTENCY_KEY_REUSED,
    INVALID_REQUEST,
    NOT_IDENTIFIED,
    PRECONDITION_FAILED,
    TODO_NOT_FOUND,
    documented_headers,
    error_responses,
)
from todo_api.models.page import TodoPage, TodoQuery
from todo_api.models.todo import TodoPublic, TodoUpdate, TodoWrite

# `id` is the name in the contract, and a builtin in Python.
TodoIdInPath = Annotated[
    UUID, Path(alias="id", description="The todo's id.", examples=["0b2b5ea0-6a3f-4c1e-9a55-3c1f6b7d2f10"])
]

TODO_HEADERS = documented_headers({"ETag": "The todo's `etag`."})
CREATED_HEADERS = TODO_HEADERS | documented_headers(
    {
        "Location": "The path of the todo.",
        "Idempotency-Replayed": "`true` when an earlier request with this idempotency key has made the todo.",
    }
)
_TODO_UPDATE = {"$ref": "#/components/schemas/TodoUpdate"}
TODO: dict[int | str, dict[str, Any]] = {200: {"headers": TODO_HEADERS}}
BODY_ERRORS = error_responses(*BODY_PROBLEMS)

router = APIRouter(
    prefix="/v1/todos",
    tags=["todos"],
    route_class=JsonRoute,
    responses=error_responses(NOT_IDENTIFIED, BODY_TOO_LARGE, INVALID_REQUEST, *DATABASE_PROBLEMS),
)


@router.post(
    "",
    status_code=201,
    responses=BODY_ERRORS
    | error_responses(INVALID_REQUEST, IDEMPOTENCY_KEY_REUSED)
    | {201: {"headers": CREATED_HEADERS}},
)
def create_todo(
    body: TodoWrite, todos: TodosDep, response: Response, idempotency_key: IdempotencyKeyHeader = None
) -> TodoPublic:
    """Create a todo, at most once for each idempotency key."""
    todo, replayed = todos.create(body, idempotency_key)
    response.headers["Location"] = f"/v1/todos/{todo.id}"
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return _tagged(todo, response)


@router.get("")
def list_todos(query: Annotated[TodoQuery, Query()], todos: TodosDep) -> TodoPage:
    """List your todos, newest first, a page at a time."""
    return todos.page(query)


@router.get(
    "/{id}",
    response_model=TodoPublic,
    responses=TODO
    | {304: {"description": "The caller has this version already.", "headers": TODO_HEADERS}}
    | error_responses(TODO_NOT_FOUND),
)
def retrieve_todo(
    todo_id: TodoIdInPath, todos: TodosDep, response: Response, if_none_match: IfNoneMatchHeader = None
) -> TodoPublic | Response:
    """Retrieve a todo, unless the caller has this version of it already."""
    todo = _tagged(todos.retrieve(todo_id), response)
    if if_none_match_matches(if_none_match, todo.etag):
        return Response(status_code=304, headers=response.headers)
    return todo


@router.put("/{id}", responses=TODO | BODY_ERRORS | error_responses(TODO_NOT_FOUND, PRECONDITION_FAILED))
def replace_todo(
    todo_id: TodoIdInPath, body: TodoWrite, todos: TodosDep, response: Response, versions: IfMatchVersions
) -> TodoPublic:
    """Replace a todo: fields that are left out return to their defaults."""
    return _tagged(todos.replace(todo_id, body, versions), response)


@router.patch(
    "/{id}",
    responses=TODO | BODY_ERRORS | error_responses(TODO_NOT_FOUND, PRECONDITION_FAILED),
    openapi_extra={"requestBody": {"content": {"application/merge-patch+json": {"schema": _TODO_UPDATE}}}},
)
def update_todo(
    todo_id: TodoIdInPath, body: TodoUpdate, todos: TodosDep, response: Response, versions: IfMatchVersions
) -> TodoPublic:
    """Update a todo: fields that are left out keep their values, and null clears the description."""
    return _tagged(todos.update(todo_id, body, versions), response)


@router.delete(
    "/{id}",
    status_code=204,
    response_class=Response,  # or FastAPI would declare a type for a body that is not there
    responses=error_responses(TODO_NOT_FOUND, PRECONDITION_FAILED),
)
def delete_todo(todo_id: TodoIdInPath, todos: TodosDep, versions: IfMatchVersions) -> None:
    """Delete a todo for good."""
    todos.delete(todo_id, versions)


@router.post("/{id}/toggle", responses=TODO | error_responses(TODO_NOT_FOUND, PRECONDITION_FAILED))
def toggle_todo(todo_id: TodoIdInPath, todos: TodosDep, response: Response, versions: IfMatchVersions) -> TodoPublic:
    """Complete a todo, or take its completion back."""
    return _tagged(todos.toggle(todo_id, versions), response)


def _tagged(todo: TodoPublic, response: Response) -> TodoPublic:
    response.headers["ETag"] = todo.etag
    return todo
