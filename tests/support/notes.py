"""A second resource, for copies of the project: the files and changes that add notes."""

from tests.support.copies import Copy
from tests.support.revisions import NEWEST, NEXT

TABLE = '''

class Note(SQLModel, table=True):
    """A note of one user, perhaps about a todo."""

    __tablename__ = "notes"
    __table_args__ = ({"info": {"owner": "user_id"}},)

    id: UUID = Field(
        sa_column=sa.Column(sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid())
    )
    user_id: str = Field(sa_column=sa.Column(sa.Text, nullable=False))
    text: str = Field(sa_column=sa.Column(sa.Text, nullable=False))
    todo_id: UUID | None = Field(sa_column=sa.Column(sa.Uuid))
'''

REVISION = f'''"""Add notes."""

from alembic import op

revision = "{NEXT}"
down_revision = "{NEWEST}"


def upgrade() -> None:
    """Create the table."""
    op.execute("ALTER TABLE todos ADD UNIQUE (user_id, id)")
    op.execute(
        "CREATE TABLE notes (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), "
        "user_id text NOT NULL REFERENCES users, text text NOT NULL, todo_id uuid, "
        "FOREIGN KEY (user_id, todo_id) REFERENCES todos (user_id, id))"
    )


def downgrade() -> None:
    """Drop the table."""
    op.execute("DROP TABLE notes")
'''

STATEMENTS = '''"""All statements on notes."""

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from todo_api.models.tables import Note, User


class NoteRepository:
    """The notes of one user."""

    def __init__(self, session: Session, user_id: str) -> None:
        self._connection = session.connection()
        self._user_id = user_id

    def create(self, text: str, todo_id: UUID | None) -> Any:
        user = insert(User).values(id=self._user_id).on_conflict_do_nothing().cte("new_user")
        values = {"user_id": self._user_id, "text": text, "todo_id": todo_id}
        statement = insert(Note).add_cte(user).values(**values)
        return self._connection.execute(statement.returning(Note)).one()

    def list(self, word: str | None) -> list[Any]:
        statement = select(Note).where(col(Note.user_id) == self._user_id)
        if word is not None:
            statement = statement.where(col(Note.text).contains(word))
        return list(self._connection.execute(statement).all())

    def retrieve(self, note_id: UUID) -> Any:
        owned = sa.and_(col(Note.user_id) == self._user_id, col(Note.id) == note_id)
        return self._connection.execute(select(Note).where(owned)).one_or_none()
'''

ROUTES = '''"""Operations on notes."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, Field

from todo_api.api.session import CallerSession, CurrentUser
from todo_api.database.notes import NoteRepository

router = APIRouter(prefix="/v1/notes", tags=["notes"])


class NoteCreate(BaseModel):
    text: Annotated[str, Field(examples=["Remember the milk"])]
    todo_id: UUID | None = None


def _public(note: Any) -> dict[str, str]:
    return {"id": str(note.id), "text": note.text}


@router.post("", status_code=201)
def create_note(
    body: NoteCreate, session: CallerSession, user_id: CurrentUser
) -> dict[str, str]:
    return _public(NoteRepository(session, user_id).create(body.text, body.todo_id))


@router.get("")
def list_notes(
    session: CallerSession,
    user_id: CurrentUser,
    word: Annotated[str | None, Query(examples=["milk"])] = None,
) -> list[dict[str, str]]:
    return [_public(note) for note in NoteRepository(session, user_id).list(word)]


@router.get("/{id}")
def retrieve_note(id: UUID, session: CallerSession, user_id: CurrentUser) -> dict[str, str]:
    note = NoteRepository(session, user_id).retrieve(id)
    if note is None:
        raise HTTPException(404)
    return _public(note)
'''


def add_notes(copy: Copy) -> None:
    """Add notes to a copy: a table with its owner, its statements and three operations."""
    copy.add("todo_api/models/tables.py", TABLE)
    copy.add(f"migrations/versions/{NEXT}_notes.py", REVISION)
    copy.add("todo_api/database/notes.py", STATEMENTS)
    copy.add("todo_api/api/notes.py", ROUTES)
    copy.replace(
        "todo_api/app.py",
        "    app.include_router(health.router)\n",
        "    app.include_router(health.router)\n"
        "    from todo_api.api import notes\n\n"
        "    app.include_router(notes.router)\n",
    )
