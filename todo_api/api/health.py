"""Health checks: of the process, and of the database."""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from todo_api.api.problems import DATABASE_PROBLEMS, NOT_READY
from todo_api.api.responses import error_responses
from todo_api.api.session import AnonymousSession
from todo_api.database.readiness import check_ready

TAG = {"name": "probes", "description": "Health checks. These need no user."}

router = APIRouter(tags=[TAG["name"]])


class Status(BaseModel):
    """The service works."""

    status: Annotated[
        Literal["ok", "ready"],
        Field(description="`ok` of the process, `ready` of the database too."),
    ]


@router.get("/health")
async def check_health() -> Status:
    """Check the process. Does not use the database, and so does not wake it."""
    return Status(status="ok")


@router.get(
    "/ready",
    description="Check that the database answers, is migrated and isolates users. "
    "Polling it keeps Neon awake, which costs.",
    responses=error_responses(*DATABASE_PROBLEMS, NOT_READY),
)
def check_readiness(session: AnonymousSession) -> Status:
    """Check that the database answers, is migrated and isolates users."""
    check_ready(session)
    return Status(status="ready")
