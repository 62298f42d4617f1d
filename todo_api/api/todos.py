"""The seven operations on todos."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Response

from todo_api.api.body import JsonRoute
from todo_api.api.conditions import (
    IdempotencyKeyHeader,
    IfMatchVersions,
    IfNoneMatchHeader,
    if_none_match_matches,
)
from todo_api.api.problems import (
    BODY_PROBLEMS,
    COMMON_PROBLEMS,
    IDEMPOTENCY_KEY_REUSED,
    INVALID_REQUEST,
    PRECONDITION_FAILED,
    TODO_NOT_FOUND,
)
from todo_api.api.responses import (
    CREATED,
    ITEM,
    ITEM_OR_304,
    Responses,
    documented_headers,
    error_responses,
    merge_patch,
)
from todo_api.api.session import CallerSession, CurrentUser
from todo_api.database.todos import TodoRepository
from todo_api.models.fields import SOME_ID
from todo_api.models.todos import TodoCreate, TodoPage, TodoPublic, TodoQuery, TodoUpdate

# `id` is a builtin function, so the parameter has another name in Python.
TodoIdInPath = Annotated[
    UUID,
    Path(alias="id", description="The todo's id.", examples=[SOME_ID]),
]


# Async, because FastAPI would run a plain function in a thread of its own.
async def todos_of_caller(
    session: CallerSession,
    user_id: CurrentUser,
) -> TodoRepository:
    """Return the caller's repository."""
    return TodoRepository(session, user_id)


TodosDep = Annotated[TodoRepository, Depends(todos_of_caller)]

REPLAYED = documented_headers({"Idempotency-Replayed": "`true` on a retry."})
CREATED_ONCE: Responses = {201: {"headers": CREATED[201]["headers"] | REPLAYED}}
CREATE_ERRORS = error_responses(*BODY_PROBLEMS, INVALID_REQUEST, IDEMPOTENCY_KEY_REUSED)
READ_ERRORS = error_responses(TODO_NOT_FOUND, INVALID_REQUEST)
WRITE_ERRORS = error_responses(TODO_NOT_FOUND, INVALID_REQUEST, PRECONDITION_FAILED)
BODY_WRITE_ERRORS = error_responses(*BODY_PROBLEMS) | WRITE_ERRORS

TAG = {"name": "todos", "description": "The caller's own todos."}

router = APIRouter(
    prefix="/v1/todos",
    tags=[TAG["name"]],
    route_class=JsonRoute,
    responses=error_responses(*COMMON_PROBLEMS),
)


@router.post("", status_code=201, responses=CREATED_ONCE | CREATE_ERRORS)
def create_todo(
    body: TodoCreate,
    todos: TodosDep,
    response: Response,
    idempotency_key: IdempotencyKeyHeader = None,
) -> TodoPublic:
    """Create a todo. Retries with the same Idempotency-Key create it once."""
    todo, existed = todos.create(body, idempotency_key)
    response.headers["Location"] = f"/v1/todos/{todo.id}"
    if existed:
        response.headers["Idempotency-Replayed"] = "true"
    return _tagged(todo, response)


@router.get("", responses=error_responses(INVALID_REQUEST))
def list_todos(query: Annotated[TodoQuery, Query()], todos: TodosDep) -> TodoPage:
    """List todos, newest first, one page at a time."""
    return todos.list(query)


@router.get("/{id}", response_model=TodoPublic, responses=ITEM_OR_304 | READ_ERRORS)
def retrieve_todo(
    todo_id: TodoIdInPath,
    todos: TodosDep,
    response: Response,
    if_none_match: IfNoneMatchHeader = None,
) -> TodoPublic | Response:
    """Retrieve a todo."""
    todo = _tagged(todos.retrieve(todo_id), response)
    if if_none_match_matches(if_none_match, todo.etag):
        return Response(status_code=304, headers=response.headers)
    return todo


@router.put("/{id}", responses=ITEM | BODY_WRITE_ERRORS)
def replace_todo(
    todo_id: TodoIdInPath,
    body: TodoCreate,
    todos: TodosDep,
    response: Response,
    versions: IfMatchVersions,
) -> TodoPublic:
    """Replace a todo. Omitted fields return to their defaults."""
    return _tagged(todos.replace(todo_id, body, versions), response)


@router.patch("/{id}", responses=ITEM | BODY_WRITE_ERRORS, openapi_extra=merge_patch(TodoUpdate))
def update_todo(
    todo_id: TodoIdInPath,
    body: TodoUpdate,
    todos: TodosDep,
    response: Response,
    versions: IfMatchVersions,
) -> TodoPublic:
    """Update a todo. Omitted fields keep their values; null clears the description."""
    return _tagged(todos.update(todo_id, body, versions), response)


@router.delete(
    "/{id}",
    status_code=204,
    response_class=Response,  # the default would send a Content-Type without a body
    responses=WRITE_ERRORS,
)
def delete_todo(
    todo_id: TodoIdInPath,
    todos: TodosDep,
    versions: IfMatchVersions,
) -> None:
    """Delete a todo permanently."""
    todos.delete(todo_id, versions)


@router.post("/{id}/toggle", responses=ITEM | WRITE_ERRORS)
def toggle_todo(
    todo_id: TodoIdInPath,
    todos: TodosDep,
    response: Response,
    versions: IfMatchVersions,
) -> TodoPublic:
    """Toggle whether a todo is completed."""
    return _tagged(todos.toggle(todo_id, versions), response)


def _tagged(todo: TodoPublic, response: Response) -> TodoPublic:
    response.headers["ETag"] = todo.etag
    return todo
