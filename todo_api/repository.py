"""All SQL: what one user's requests send to the database, each a single statement.

`Todos` belongs to one user. Its reads, updates and deletes start from `_mine`, which filters by that user in the
statement itself; another user's row is therefore a missing row, and there is nothing to compare afterwards.
"""

from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Delete, Executable, Select, Update, delete, func, not_, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from todo_api.models import Cursor, Todo, TodoPage, TodoPublic, TodoQuery, TodoUpdate, TodoWrite, User

SCHEMA_REVISION = "0002"
"""The oldest migration that these statements work with."""

PREAMBLE = (
    "SELECT set_config('role', 'todo_app', true), set_config('app.user_id', %(caller)s, true), "
    "set_config('statement_timeout', %(milliseconds)s, true); "
)
"""What goes ahead of every statement in the same message, and with it the same transaction, after which all of it is
gone again: the next client of a pooled connection finds nothing. Row-level security then lets the statement see and
write the rows of `caller` only, whatever its own text says."""

_Owned = TypeVar("_Owned", Select[Any], Update, Delete)


class TodoNotFound(Exception):
    """The user has no todo with this id."""


class NotReady(Exception):
    """The database answers, and is not as this code needs it; the text says how."""


class Todos:
    """The todos of one user.

    Every method sends exactly one statement. It raises `DatabaseUnavailable` when the database does not answer.
    """

    def __init__(self, session: Session, user_id: str) -> None:
        if not user_id:
            raise ValueError("todos belong to a user")
        self._session = session
        self._user_id = user_id

    def create(self, todo: TodoWrite) -> TodoPublic:
        """Add a todo, and record the user if this is their first."""
        user = insert(User).values(id=self._user_id).on_conflict_do_nothing().cte("recorded_user")
        return self._one(insert(Todo).values(user_id=self._user_id, **todo.model_dump()).add_cte(user).returning(Todo))

    def page(self, query: TodoQuery) -> TodoPage:
        """One page of the todos, newest first. What a page costs does not depend on how far down it is."""
        statement = self._mine(select(Todo))
        if query.is_completed is not None:
            statement = statement.where(col(Todo.is_completed) == query.is_completed)
        place = tuple_(col(Todo.created_at), col(Todo.id))
        if query.cursor is not None:
            statement = statement.where(place < tuple_(query.cursor.created_at, query.cursor.id))
        statement = statement.order_by(col(Todo.created_at).desc(), col(Todo.id).desc())
        rows = self._session.scalars(statement.limit(query.limit + 1)).all()  # one more tells whether a page follows
        items = [TodoPublic.model_validate(row) for row in rows[: query.limit]]
        more = len(rows) > query.limit
        return TodoPage(items=items, next_cursor=str(_after(items[-1], query)) if more else None)

    def retrieve(self, todo_id: UUID) -> TodoPublic:
        """The todo with this id.

        Raises:
            TodoNotFound: the user has none.
        """
        return self._one(self._mine(select(Todo).where(col(Todo.id) == todo_id)))

    def replace(self, todo_id: UUID, todo: TodoWrite) -> TodoPublic:
        """Set every field that a client decides. Raises like `retrieve`."""
        return self._change(todo_id, todo.model_dump())

    def update(self, todo_id: UUID, patch: TodoUpdate) -> TodoPublic:
        """Set the fields that the patch names; a patch that names none only reads. Raises like `retrieve`."""
        fields = patch.model_dump(exclude_unset=True)
        return self._change(todo_id, fields) if fields else self.retrieve(todo_id)

    def toggle(self, todo_id: UUID) -> TodoPublic:
        """Flip `is_completed` in the database, so that concurrent flips all count. Raises like `retrieve`."""
        return self._change(todo_id, {"is_completed": not_(col(Todo.is_completed))})

    def delete(self, todo_id: UUID) -> None:
        """Remove the todo for good. Raises like `retrieve`."""
        self._one(self._mine(delete(Todo).where(col(Todo.id) == todo_id)).returning(Todo))

    def _change(self, todo_id: UUID, fields: dict[str, Any]) -> TodoPublic:
        # The clock may stand still or go back; updated_at grows with every change all the same.
        updated_at = func.greatest(func.clock_timestamp(), col(Todo.updated_at) + timedelta(microseconds=1))
        statement = update(Todo).where(col(Todo.id) == todo_id).values(**fields, updated_at=updated_at)
        return self._one(self._mine(statement).returning(Todo))

    def _mine(self, statement: _Owned) -> _Owned:
        return statement.where(col(Todo.user_id) == self._user_id)

    def _one(self, statement: Executable) -> TodoPublic:
        row = self._session.scalars(statement, execution_options={"synchronize_session": False}).one_or_none()
        if row is None:
            raise TodoNotFound
        return TodoPublic.model_validate(row)


def _after(todo: TodoPublic, query: TodoQuery) -> Cursor:
    return Cursor(todo.created_at, todo.id, query.is_completed)


def check_ready(session: Session) -> None:
    """Ask the database, in one round trip, whether it is migrated far enough and the second wall is up.

    Raises:
        NotReady: it is not.
        DatabaseUnavailable: it did not answer, or was never migrated.
    """
    state = text(
        "SELECT current_user = 'todo_app', row_security_active('todos'), (SELECT max(version_num) FROM alembic_version)"
    )
    is_app, is_walled, revision = session.connection().execute(state).one()
    if not is_app or not is_walled:
        raise NotReady("row-level security does not hold")
    if revision is None or revision < SCHEMA_REVISION:
        raise NotReady(f"the database is at revision {revision}, and {SCHEMA_REVISION} is needed")
