"""The operations over HTTP: what each takes, and what it answers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from functools import wraps
from typing import Annotated, Any, ParamSpec
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from sqlmodel import Session

from todo_api.identity import HEADER, user_id_of
from todo_api.models import (
    IDEMPOTENCY_KEY_MAX,
    TodoPage,
    TodoPublic,
    TodoQuery,
    TodoUpdate,
    TodoWrite,
)
from todo_api.preconditions import IfMatchVersions, IfNoneMatchHeader, if_none_match_matches
from todo_api.problems import Problem, documented
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
        accepted = ["application/json"]
        if self.methods == {"PATCH"}:
            accepted.append("application/merge-patch+json")

        async def checked(request: Request) -> Response:
            body = await request.body()
            if len(body) > BODY_MAX:
                raise Problem(413, "body-too-large", f"The body may have at most {BODY_MAX:,} bytes.")
            if self.body_field is not None:
                media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
                if body and media_type not in accepted:
                    detail = f"Send the body with Content-Type: {' or '.join(accepted)}."
                    accept_patch = {"Accept-Patch": ", ".join(accepted)} if self.methods == {"PATCH"} else None
                    raise Problem(415, "unsupported-media-type", detail, headers=accept_patch)  # RFC 5789, section 2.2
                try:
                    await request.json()  # FastAPI reads the result again
                except (ValueError, RecursionError):  # not JSON; or too deep, or a number of too many digits
                    raise Problem(400, "malformed-body", "The body must be JSON.") from None
            return await operation(request)

        return checked


class ModelResponse(JSONResponse):
    """A model as JSON. Handing the model itself to FastAPI would validate it again, in one more thread."""

    def render(self, content: BaseModel) -> bytes:
        """The model's JSON."""
        return content.model_dump_json().encode()


# --- dependencies: `async`, because each plain function would cost one more thread hop --------------------------------


async def current_user(request: Request) -> str:
    """The caller's user id."""
    source = request.app.state.settings.identity_source
    return user_id_of(source, request.headers.get(HEADER), request.scope.get("aws.event"))


def _session(request: Request, caller: str) -> AbstractContextManager[Session]:
    """A session of this request, with the time that the setting and Lambda leave for the database."""
    state, context = request.app.state, request.scope.get("aws.context")
    seconds = state.settings.database_timeout_seconds
    if context is not None:
        seconds = min(seconds, context.get_remaining_time_in_millis() / 1000 - MARGIN_SECONDS)
    session: AbstractContextManager[Session] = state.database.session(caller=caller, seconds=seconds)
    return session


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


class TodoResponse(ModelResponse):
    """One todo, with the entity tag of its version."""

    def __init__(self, todo: TodoPublic, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(todo, status_code, {"ETag": todo.etag, **(headers or {})})


_P = ParamSpec("_P")


def in_thread(operation: Callable[_P, Response]) -> Callable[_P, Coroutine[Any, Any, Response]]:
    """Run an operation in a thread: psycopg2 blocks, and the local server has other requests to answer meanwhile.

    FastAPI does so with every plain function, but its threads end with the event, and each event would start a new one.
    """

    @wraps(operation)
    async def awaited(*arguments: _P.args, **named: _P.kwargs) -> Response:
        return await asyncio.to_thread(operation, *arguments, **named)

    return awaited


# --- operations -------------------------------------------------------------------------------------------------------

router = APIRouter(
    prefix="/v1/todos",
    tags=["todos"],
    route_class=JsonRoute,
    dependencies=[Depends(current_user)],
    responses=documented(401, 413, 422, 500, 503),
)
BODY = documented(400, 415)
ONE = documented(404, 412)


@router.post("", status_code=201, response_model=TodoPublic, responses=BODY)
@in_thread
def create_todo(
    body: TodoWrite,
    todos: TodosDep,
    idempotency_key: IdempotencyKeyHeader = None,
) -> Response:
    """Create a todo, at most once for each idempotency key."""
    todo, replayed = todos.create(body, idempotency_key)
    headers = {"Location": f"/v1/todos/{todo.id}"}
    return TodoResponse(todo, 201, headers | {"Idempotency-Replayed": "true"} if replayed else headers)


@router.get("", response_model=TodoPage)
@in_thread
def list_todos(query: Annotated[TodoQuery, Query()], todos: TodosDep) -> Response:
    """List your todos, newest first, a page at a time."""
    return ModelResponse(todos.page(query))


@router.get("/{id}", response_model=TodoPublic, responses=documented(404) | {304: {}})
@in_thread
def retrieve_todo(todo_id: TodoIdInPath, todos: TodosDep, if_none_match: IfNoneMatchHeader = None) -> Response:
    """Retrieve a todo, unless the caller has this version of it already."""
    todo = todos.retrieve(todo_id)
    if if_none_match_matches(if_none_match, todo.etag):
        return Response(status_code=304, headers={"ETag": todo.etag})
    return TodoResponse(todo)


@router.put("/{id}", response_model=TodoPublic, responses=BODY | ONE)
@in_thread
def replace_todo(todo_id: TodoIdInPath, body: TodoWrite, todos: TodosDep, versions: IfMatchVersions) -> Response:
    """Replace a todo: fields that are left out return to their defaults."""
    return TodoResponse(todos.replace(todo_id, body, versions))


@router.patch("/{id}", response_model=TodoPublic, responses=BODY | ONE)
@in_thread
def update_todo(todo_id: TodoIdInPath, body: TodoUpdate, todos: TodosDep, versions: IfMatchVersions) -> Response:
    """Update a todo: fields that are left out keep their values, and null clears the description."""
    return TodoResponse(todos.update(todo_id, body, versions))


@router.delete("/{id}", status_code=204, responses=ONE)
@in_thread
def delete_todo(todo_id: TodoIdInPath, todos: TodosDep, versions: IfMatchVersions) -> Response:
    """Delete a todo for good."""
    todos.delete(todo_id, versions)
    return Response(status_code=204)


@router.post("/{id}/toggle", response_model=TodoPublic, responses=ONE)
@in_thread
def toggle_todo(todo_id: TodoIdInPath, todos: TodosDep, versions: IfMatchVersions) -> Response:
    """Complete a todo, or take its completion back."""
    return TodoResponse(todos.toggle(todo_id, versions))


probes = APIRouter(tags=["probes"])


@probes.get("/health")
async def check_health() -> Response:
    """Tell whether the process answers. It asks the database nothing, so that it does not wake a sleeping one."""
    return JSONResponse({"status": "ok"})


@probes.get("/ready", responses=documented(500, 503))
@in_thread
def check_readiness(session: SessionDep) -> Response:
    """Tell whether the database answers, is migrated and keeps users apart. Polling it keeps Neon awake, and costs."""
    check_ready(session)
    return JSONResponse({"status": "ready"})
