"""A second resource, for copies of the project: the files and changes that add remarks."""

from tests.support.postgres.revisions import NEWEST, NEXT
from tests.support.project.copies import Copy

TABLE = '''

class Remark(SQLModel, table=True):
    """A remark of one user, perhaps about a todo."""

    __tablename__ = "remarks"
    __table_args__ = ({"info": {"owner": "user_id"}},)

    id: UUID = Field(
        sa_column=sa.Column(sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid())
    )
    user_id: str = Field(sa_column=sa.Column(sa.Text, nullable=False))
    text: str = Field(sa_column=sa.Column(sa.Text, nullable=False))
    todo_id: UUID | None = Field(sa_column=sa.Column(sa.Uuid))
'''

REVISION = f'''"""Add remarks."""

from alembic import op

revision = "{NEXT}"
down_revision = "{NEWEST}"


def upgrade() -> None:
    """Create the table."""
    op.execute("ALTER TABLE todos ADD UNIQUE (user_id, id)")
    op.execute(
        "CREATE TABLE remarks (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), "
        "user_id text NOT NULL REFERENCES users, text text NOT NULL, todo_id uuid, "
        "FOREIGN KEY (user_id, todo_id) REFERENCES todos (user_id, id))"
    )


def downgrade() -> None:
    """Drop the table."""
    op.execute("DROP TABLE remarks")
'''

STATEMENTS = '''"""All statements on remarks."""

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from todo_api.models.tables import Remark, User


class RemarkRepository:
    """The remarks of one user."""

    def __init__(self, session: Session, user_id: str) -> None:
        self._connection = session.connection()
        self._user_id = user_id

    def create(self, text: str, todo_id: UUID | None) -> Any:
        user = insert(User).values(id=self._user_id).on_conflict_do_nothing().cte("new_user")
        values = {"user_id": self._user_id, "text": text, "todo_id": todo_id}
        statement = insert(Remark).add_cte(user).values(**values)
        return self._connection.execute(statement.returning(Remark)).one()

    def list(self, word: str | None) -> list[Any]:
        statement = select(Remark).where(col(Remark.user_id) == self._user_id)
        if word is not None:
            statement = statement.where(col(Remark.text).contains(word))
        return list(self._connection.execute(statement).all())

    def retrieve(self, remark_id: UUID) -> Any:
        owned = sa.and_(col(Remark.user_id) == self._user_id, col(Remark.id) == remark_id)
        return self._connection.execute(select(Remark).where(owned)).one_or_none()
'''

ROUTES = '''"""Operations on remarks."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, Field

from todo_api.api.session import CallerSession, CurrentUser
from todo_api.database.remarks import RemarkRepository

router = APIRouter(prefix="/v1/remarks", tags=["remarks"])


class RemarkCreate(BaseModel):
    text: Annotated[str, Field(examples=["Remember the milk"])]
    todo_id: UUID | None = None


def _public(remark: Any) -> dict[str, str]:
    return {"id": str(remark.id), "text": remark.text}


@router.post("", status_code=201)
def create_remark(
    body: RemarkCreate, session: CallerSession, user_id: CurrentUser
) -> dict[str, str]:
    return _public(RemarkRepository(session, user_id).create(body.text, body.todo_id))


@router.get("")
def list_remarks(
    session: CallerSession,
    user_id: CurrentUser,
    word: Annotated[str | None, Query(examples=["milk"])] = None,
) -> list[dict[str, str]]:
    return [_public(remark) for remark in RemarkRepository(session, user_id).list(word)]


@router.get("/{id}")
def retrieve_remark(id: UUID, session: CallerSession, user_id: CurrentUser) -> dict[str, str]:
    remark = RemarkRepository(session, user_id).retrieve(id)
    if remark is None:
        raise HTTPException(404)
    return _public(remark)
'''


def add_remarks(copy: Copy) -> None:
    """Add remarks to a copy: a table with its owner, its statements and three operations."""
    copy.add("todo_api/models/tables.py", TABLE)
    copy.add(f"migrations/versions/{NEXT}_remarks.py", REVISION)
    copy.add("todo_api/database/remarks.py", STATEMENTS)
    copy.add("todo_api/api/remarks.py", ROUTES)
    copy.replace(
        "todo_api/app.py",
        "    app.include_router(health.router)\n",
        "    app.include_router(health.router)\n"
        "    from todo_api.api import remarks\n\n"
        "    app.include_router(remarks.router)\n",
    )
