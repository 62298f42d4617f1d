"""What endpoints ask for: the caller, and the repository of the caller's todos."""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from typing import Annotated

from fastapi import Depends, Request
from sqlmodel import Session

from todo_api.api.identity import HEADER, user_id_of
from todo_api.database.engine import Database
from todo_api.database.repository import Todos

MARGIN_SECONDS = 1
"""What is kept back of an invocation's time for everything but the database."""


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
