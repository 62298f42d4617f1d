"""Health checks: of the process, and of the database."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from todo_api.api.problems import DATABASE_PROBLEMS, NOT_READY
from todo_api.api.responses import error_responses
from todo_api.api.session import AnonymousSession
from todo_api.database.readiness import check_ready

TAG = {"name": "probes", "description": "Health checks. These need no user."}

router = APIRouter(tags=[TAG["name"]])


class Health(BaseModel):
    """The process works."""

    status: Annotated[str, Field(description="Always `ok`.", examples=["ok"])]


class Readiness(BaseModel):
    """The process and its database work."""

    status: Annotated[
        str,
        Field(description="Always `ready`.", examples=["ready"]),
    ]


@router.get("/health")
async def check_health() -> Health:
    """Check the process. Does not use the database, and so does not wake it."""
    return Health(status="ok")


@router.get(
    "/ready",
    description="Check that the database answers, is migrated and isolates users. "
    "Polling it keeps Neon awake, which costs.",
    responses=error_responses(*DATABASE_PROBLEMS, NOT_READY),
)
def check_readiness(session: AnonymousSession) -> Readiness:
    """Check that the database answers, is migrated and isolates users."""
    check_ready(session)
    return Readiness(status="ready")
