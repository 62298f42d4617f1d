"""FastAPI dependencies: the caller's user id, and sessions for them or for nobody."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Request
from sqlmodel import Session

from todo_api.api.identity import HEADER, user_id_of
from todo_api.database.engine import Database
from todo_api.settings import Settings

RESERVED_SECONDS = 1  # of the Lambda timeout, for non-database work


# The dependencies are async, because FastAPI would run each plain function in a thread of its own.
async def current_user(request: Request) -> str:
    """Return the caller's user id."""
    settings: Settings = request.app.state.settings
    headers = request.headers.getlist(HEADER)
    event = request.scope.get("aws.event")
    return user_id_of(settings.identity_source, headers, event)


CurrentUser = Annotated[str, Depends(current_user)]


@contextmanager
def _open_session(request: Request, user_id: str) -> Iterator[Session]:
    settings: Settings = request.app.state.settings
    seconds = settings.database_timeout_seconds
    context = request.scope.get("aws.context")
    if context is not None:
        remaining = context.get_remaining_time_in_millis() / 1000
        seconds = min(seconds, remaining - RESERVED_SECONDS)
    database: Database = request.app.state.database
    with database.session(user_id=user_id, timeout_seconds=seconds) as session:
        request.state.wait = session.info["wait"]  # for the log
        yield session


async def session_of_caller(
    request: Request,
    user_id: CurrentUser,
) -> AsyncIterator[Session]:
    """Open a session that row-level security shows the caller's rows."""
    with _open_session(request, user_id) as session:
        yield session


async def session_without_user(request: Request) -> AsyncIterator[Session]:
    """Open a session that row-level security shows no rows."""
    with _open_session(request, "") as session:
        yield session


# scope="function": the session is closed before the response is sent.
CallerSession = Annotated[Session, Depends(session_of_caller, scope="function")]
AnonymousSession = Annotated[
    Session,
    Depends(session_without_user, scope="function"),
]
