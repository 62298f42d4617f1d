"""The operations over HTTP: what each takes, and what it answers."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, HTTPException, Path, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from sqlmodel import Session

from todo_api.database import Database
from todo_api.identity import HEADER, user_id_of
from todo_api.models import IDEMPOTENCY_KEY_MAX, TodoPage, TodoPublic, TodoQuery, TodoUpdate, TodoWrite
from todo_api.preconditions import IfMatchVersions, IfNoneMatchHeader, if_none_match_matches
from todo_api.problems import (
    BODY_PROBLEMS,
    BODY_TOO_LARGE,
    DATABASE_PROBLEMS,
    IDEMPOTENCY_KEY_REUSED,
    INVALID_REQUEST,
    NOT_IDENTIFIED,
    NOT_READY,
    PRECONDITION_FAILED,
    TODO_NOT_FOUND,
    documented_headers,
    error_responses,
)
from todo_api.repository import Todos, check_ready

BODY_MAX = 64 * 1024
"""The most bytes that a request's body may have."""

MARGIN_SECONDS = 1
"""What is kept back of an invocation's time for everything but the database."""


class JsonRoute(APIRoute):
    """Looks at the body before anything else: at its size (413), then its type (415), then its form (400)."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The operation, behind these checks."""
        operation = super().get_route_handler()
        accepted, headers = ["application/json"], None
        if self.methods == {"PATCH"}:
            accepted.append("application/merge-patch+json")
            headers = {"Accept-Patch": ", ".join(accepted)}  # RFC 5789, section 2.2

        async def checked(request: Request) -> Response:
            body = await request.body()
            if len(body) > BODY_MAX:
                raise HTTPException(413)
            if self.body_field is not None:
                media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
                if body and media_type not in accepted:
                    raise HTTPException(415, headers=headers)
                try:
                    await request.json()  # kept by the request: FastAPI does not parse it again
                except (ValueError, RecursionError):  # not JSON; or nested too deep, or a number of too many digits
                    raise HTTPException(400) from None
            return await operation(request)

        return checked


# Dependencies are `async`, because FastAPI would run each plain function in a thread of its own.
async def current_user(request: Request) -> str:
    """The caller's user id."""
    source = request.app.state.settings.identity_source
    return user_id_of(source, request.headers.get(HEADER), request.scope.get("aws.event"))


def _session(request: Request, caller: str) -> AbstractContextManager[Session]:
    """A session of this request, with the time that the setting and Lambda leave for the database."""
    context, seconds = request.scope.get("aws.context"), request.app.state.settings.database_timeout_seconds
    if context is not None:
        seconds = min(seconds, context.get_remaining_time_in_millis() / 1000 - MARGIN_SECONDS)
    database: Database = request.app.state.database
    return database.session(caller=caller, seconds=seconds)


async def todos_of_caller(request: Request, user_id: Annotated[str, Depends(current_user)]) -> AsyncIterator[Todos]:
    """The caller's todos, and nobody else's."""
    with _session(request, user_id) as session:
        yield Todos(session, user_id)


async def session_of_nobody(request: Request) -> AsyncIterator[Session]:
    """A session that sees no user's rows."""
    with _session(request, "") as session:
        yield session


# `function`: the connection is closed before the response is sent.
TodosDep = Annotated[Todos, Depends(todos_of_caller, scope="function")]
SessionDep = Annotated[Session, Depends(session_of_nobody, scope="function")]


# `id` is the name in the contract, and a builtin in Python.
TodoIdInPath = Annotated[
    UUID, Path(alias="id", description="The todo's id.", examples=["0b2b5ea0-6a3f-4c1e-9a55-3c1f6b7d2f10"])
]
IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=IDEMPOTENCY_KEY_MAX,
        pattern="^[!-~]+$",
        description="Makes it safe to send the create again: the first with this key makes the todo, later ones answer "
        "with it. Visible ASCII characters.",
        examples=["4f1c2a7e-9d35-4a7b-8f0e-2b6c1d3e5a90"],
    ),
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


probes = APIRouter(tags=["probes"])


class Status(BaseModel):
    """That all is well."""

    status: Annotated[Literal["ok", "ready"], Field(description="What was asked about.")]


@probes.get("/health")
async def check_health() -> Status:
    """Tell whether the process answers. It asks the database nothing, so that it does not wake a sleeping one."""
    return Status(status="ok")


@probes.get("/ready", responses=error_responses(*DATABASE_PROBLEMS, NOT_READY))
def check_readiness(session: SessionDep) -> Status:
    """Tell whether the database answers, is migrated and keeps users apart. Polling it keeps Neon awake, and costs."""
    check_ready(session)
    return Status(status="ready")
