"""The database tables, as SQLModel classes.

Each table declares in its `info` whose its rows are: `owner` is the column with the user id of a
row's owner, and `rights` are what statements may do, if not all four of SELECT, INSERT, UPDATE and
DELETE. A table that every user may read, and none may change, declares `"shared": True` instead.
Policies and rights follow from it: see todo_api/database/isolation.py.
"""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

TITLE_MAX = 255
DESCRIPTION_MAX = 2_000
USER_ID_MAX = 255
IDEMPOTENCY_KEY_MAX = 255

# Constraint names are the same in every database, so that migrations can refer to them.
SQLModel.metadata.naming_convention = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
}


def _id() -> sa.Column[UUID]:
    return sa.Column(sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid())


def _user_id() -> sa.Column[str]:
    return sa.Column(sa.Text, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False)


def _time() -> sa.Column[datetime]:
    return sa.Column(sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


class User(SQLModel, table=True):
    """A user who has created a todo.

    Users are registered elsewhere; todos need a row to refer to.
    """

    __tablename__ = "users"
    __table_args__ = (
        sa.CheckConstraint(f"char_length(id) BETWEEN 1 AND {USER_ID_MAX}", name="id_length"),
        {"info": {"owner": "id", "rights": ["INSERT (id)"]}},  # statements only record their user
    )

    id: str = Field(sa_column=sa.Column(sa.Text, primary_key=True))
    created_at: datetime = Field(sa_column=_time())


class Todo(SQLModel, table=True):
    """A todo of one user. Lengths are in Unicode code points, as in PostgreSQL's `char_length`."""

    __tablename__ = "todos"
    __table_args__ = (
        sa.CheckConstraint(f"char_length(title) BETWEEN 1 AND {TITLE_MAX}", name="title_length"),
        sa.CheckConstraint(
            f"char_length(description) <= {DESCRIPTION_MAX}",
            name="description_length",
        ),
        # Scanned backwards, each returns one user's todos, newest first, without a sort.
        sa.Index("todos_by_user", "user_id", "created_at", "id"),
        sa.Index("todos_by_user_and_completion", "user_id", "is_completed", "created_at", "id"),
        sa.CheckConstraint(
            f"char_length(idempotency_key) BETWEEN 1 AND {IDEMPOTENCY_KEY_MAX}",
            name="idempotency_key_length",
        ),
        sa.Index(
            "todos_by_idempotency_key",
            "user_id",
            "idempotency_key",
            unique=True,
            postgresql_where=sa.column("idempotency_key").is_not(None),
        ),
        {"info": {"owner": "user_id"}},
    )

    id: UUID = Field(sa_column=_id())
    user_id: str = Field(sa_column=_user_id())
    title: str = Field(sa_column=sa.Column(sa.Text, nullable=False))
    description: str | None = Field(sa_column=sa.Column(sa.Text))
    is_completed: bool = Field(
        sa_column=sa.Column(sa.Boolean, nullable=False, server_default=sa.false())
    )
    created_at: datetime = Field(sa_column=_time())
    updated_at: datetime = Field(sa_column=_time())
    idempotency_key: str | None = Field(sa_column=sa.Column(sa.Text))
    request_hash: bytes | None = Field(sa_column=sa.Column(sa.LargeBinary))
    """Of the request that created the todo, to tell a retry from another request with the same
    idempotency key."""
