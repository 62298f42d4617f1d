"""Whether the service works: of the process alone, and of the database behind it."""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from todo_api.api.dependencies import SessionDep
from todo_api.api.problems import DATABASE_PROBLEMS, NOT_READY, error_responses
from todo_api.database.repository import check_ready

router = APIRouter(tags=["probes"])


class Status(BaseModel):
    """That all is well."""

    status: Annotated[Literal["ok", "ready"], Field(description="What was asked about.")]


@router.get("/health")
async def check_health() -> Status:
    """Tell whether the process answers. It asks the database nothing, so that it does not wake a sleeping one."""
    return Status(status="ok")


@router.get("/ready", responses=error_responses(*DATABASE_PROBLEMS, NOT_READY))
def check_readiness(session: SessionDep) -> Status:
    """Tell whether the database answers, is migrated and keeps users apart. Polling it keeps Neon awake, and costs."""
    check_ready(session)
    return Status(status="ready")
