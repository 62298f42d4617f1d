"""All statements on todos: those of one user, one per operation."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from todo_api.models.page import Cursor, TodoPage, TodoQuery
from todo_api.models.tables import Todo, User
from todo_api.models.todo import TodoCreate, TodoPublic, TodoUpdate

# Now, but always later than the previous value, even if the clock was set back.
NEXT_UPDATED_AT: sa.ColumnElement[Any] = sa.func.greatest(
    sa.func.clock_timestamp(), col(Todo.updated_at) + timedelta(microseconds=1)
)

# xmax = 0 means inserted; a row that already existed was updated.
WAS_INSERTED: sa.ColumnElement[bool] = sa.literal_column("todos.xmax = 0").label("was_inserted")

_Statement = TypeVar("_Statement", sa.Select[Any], sa.Update, sa.Delete, sa.Update | sa.Delete)


class TodoNotFound(Exception):
    """The user has no todo with this id."""


class PreconditionFailed(Exception):
    """The todo has another version than the request names."""


class IdempotencyKeyReused(Exception):
    """The user has sent another request with this idempotency key."""


class TodoRepository:
    """The todos of one user. Every method sends one SQL statement.

    Every statement filters by the user, so another user's todo is a missing row. Every method
    raises `DatabaseUnavailable` if the database does not answer in time.
    """

    def __init__(self, session: Session, user_id: str) -> None:
        if not user_id:
            raise ValueError("a repository needs a user")
        self._session = session
        self._user_id = user_id

    def create(
        self, todo: TodoCreate, idempotency_key: str | None = None
    ) -> tuple[TodoPublic, bool]:
        """Create a todo, and the user if it is their first.

        With a key that has created a todo before, return that todo.

        Returns:
            The todo as it is now, and whether it existed already.

        Raises:
            IdempotencyKeyReused: the key has created a todo with another request.
        """
        request_hash = todo.request_hash() if idempotency_key is not None else None
        user = insert(User).values(id=self._user_id).on_conflict_do_nothing().cte("new_user")
        values = {
            "user_id": self._user_id,
            "idempotency_key": idempotency_key,
            "request_hash": request_hash,
        }
        statement = insert(Todo).add_cte(user).values(**values, **todo.model_dump())
        statement = statement.on_conflict_do_update(
            index_elements=["user_id", "idempotency_key"],
            index_where=col(Todo.idempotency_key).is_not(None),
            # No change, but RETURNING needs an update.
            set_={"idempotency_key": col(Todo.idempotency_key)},
        )
        row = self._execute(statement.returning(Todo, WAS_INSERTED)).one()
        if row.request_hash != request_hash:
            raise IdempotencyKeyReused
        return TodoPublic.model_validate(row), not row.was_inserted

    def list(self, query: TodoQuery) -> TodoPage:
        """Return one page of the todos, newest first.

        Every page costs the same, however far down.
        """
        statement = self._owned(select(Todo))
        if query.is_completed is not None:
            statement = statement.where(col(Todo.is_completed) == query.is_completed)
        position = sa.tuple_(col(Todo.created_at), col(Todo.id))
        if query.cursor is not None:
            last_seen = sa.tuple_(query.cursor.created_at, query.cursor.id)
            statement = statement.where(position < last_seen)
        statement = statement.order_by(col(Todo.created_at).desc(), col(Todo.id).desc())
        # One more row tells whether a page follows.
        rows = self._execute(statement.limit(query.limit + 1)).all()
        items = [TodoPublic.model_validate(row) for row in rows[: query.limit]]
        has_next = len(rows) > query.limit
        cursor = (
            Cursor(items[-1].created_at, items[-1].id, query.is_completed) if has_next else None
        )
        return TodoPage(items=items, next_cursor=cursor and str(cursor))

    def retrieve(self, todo_id: UUID) -> TodoPublic:
        """Retrieve a todo by ID.

        Raises:
            TodoNotFound: the user has no todo with this id.
        """
        row = self._execute(self._owned(select(Todo).where(col(Todo.id) == todo_id))).one_or_none()
        if row is None:
            raise TodoNotFound
        return TodoPublic.model_validate(row)

    def replace(
        self, todo_id: UUID, todo: TodoCreate, versions: Collection[datetime] | None = None
    ) -> TodoPublic:
        """Replace the fields that callers set.

        Args:
            todo_id: the todo's id.
            todo: the new values.
            versions: change the todo only if its `updated_at` is one of these; None for any.

        Raises:
            TodoNotFound: the user has no todo with this id.
            PreconditionFailed: the todo has another version.
        """
        return self._change(todo_id, todo.model_dump(), versions)

    def update(
        self, todo_id: UUID, patch: TodoUpdate, versions: Collection[datetime] | None = None
    ) -> TodoPublic:
        """Change the fields that the patch contains; an empty patch only reads.

        Raises like `replace`.
        """
        fields = patch.model_dump(exclude_unset=True)
        if fields:
            return self._change(todo_id, fields, versions)
        todo = self.retrieve(todo_id)
        if versions is not None and todo.updated_at not in versions:
            raise PreconditionFailed
        return todo

    def toggle(self, todo_id: UUID, versions: Collection[datetime] | None = None) -> TodoPublic:
        """Flip `is_completed` in the database, so that concurrent toggles all count.

        Raises like `replace`.
        """
        return self._change(todo_id, {"is_completed": sa.not_(col(Todo.is_completed))}, versions)

    def delete(self, todo_id: UUID, versions: Collection[datetime] | None = None) -> None:
        """Delete a todo. Raises like `replace`."""
        self._write(todo_id, sa.delete(Todo), versions)

    def _change(
        self, todo_id: UUID, fields: dict[str, Any], versions: Collection[datetime] | None
    ) -> TodoPublic:
        update = sa.update(Todo).values(**fields, updated_at=NEXT_UPDATED_AT)
        return self._write(todo_id, update, versions)

    def _write(
        self, todo_id: UUID, write: sa.Update | sa.Delete, versions: Collection[datetime] | None
    ) -> TodoPublic:
        write = self._owned(write.where(col(Todo.id) == todo_id)).returning(Todo)
        statement: sa.Executable = write
        if versions is not None:
            # No row: not found. Nothing written: another version. FOR UPDATE: compare after
            # concurrent writes.
            owned = self._owned(select(Todo).where(col(Todo.id) == todo_id))
            target = owned.with_for_update().cte("target")
            is_expected = target.c.updated_at.in_(versions)
            written = write.where(col(Todo.id) == target.c.id, is_expected).cte("written")
            statement = written.select().select_from(target.outerjoin(written, sa.true()))
        row = self._execute(statement).one_or_none()
        if row is None:
            raise TodoNotFound
        if row.id is None:
            raise PreconditionFailed
        return TodoPublic.model_validate(row)

    def _owned(self, statement: _Statement) -> _Statement:
        return statement.where(col(Todo.user_id) == self._user_id)

    def _execute(self, statement: sa.Executable) -> sa.Result[Any]:
        # Plain rows: for a page, building an object of each row first costs a tenth more CPU time.
        return self._session.connection().execute(statement)
