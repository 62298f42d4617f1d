"""All SQL: what one user's requests send to the database, each a single statement.

`Todos` belongs to one user. Its reads, updates and deletes start from `_mine`, which filters by that user in the
statement itself; another user's row is therefore a missing row, and there is nothing to compare afterwards.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from todo_api.models.page import Cursor, TodoPage, TodoQuery
from todo_api.models.tables import Todo, User
from todo_api.models.todo import TodoPublic, TodoUpdate, TodoWrite

SCHEMA_REVISION = "0003"
"""The oldest migration that these statements work with."""

PREAMBLE = (
    "SELECT set_config('role', 'todo_app', true), set_config('app.user_id', %(caller)s, true), "
    "set_config('statement_timeout', %(milliseconds)s, true); "
)
"""What goes ahead of every statement in the same message, and with it the same transaction, after which all of it is
gone again: the next client of a pooled connection finds nothing. Row-level security then lets the statement see and
write the rows of `caller` only, whatever its own text says."""

LATER: sa.ColumnElement[Any] = sa.func.greatest(
    sa.func.clock_timestamp(), col(Todo.updated_at) + timedelta(microseconds=1)
)
"""The `updated_at` of a change. The clock may stand still or go back; this grows with every change all the same."""

IS_NEW: sa.ColumnElement[bool] = sa.literal_column("todos.xmax = 0").label("is_new")
"""Whether a row that a create returns was made by it: one that was there already bears the mark of its update."""

_Owned = TypeVar("_Owned", sa.Select[Any], sa.Update, sa.Delete, sa.Update | sa.Delete)


class TodoNotFound(Exception):
    """The user has no todo with this id."""


class PreconditionFailed(Exception):
    """The todo has another version than the request is meant for."""


class IdempotencyKeyReused(Exception):
    """The user has sent another request with this idempotency key."""


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

    def create(self, todo: TodoWrite, idempotency_key: str | None = None) -> tuple[TodoPublic, bool]:
        """Add a todo, and record the user if this is their first; or find the todo that this key has made before.

        Returns:
            The todo as it is now, and whether it was there already.

        Raises:
            IdempotencyKeyReused: the key has made a todo, and the request for it was another one.
        """
        digest = todo.digest() if idempotency_key is not None else None
        user = insert(User).values(id=self._user_id).on_conflict_do_nothing().cte("recorded_user")
        statement = (
            insert(Todo)
            .add_cte(user)
            .values(user_id=self._user_id, idempotency_key=idempotency_key, request_hash=digest, **todo.model_dump())
        )
        statement = statement.on_conflict_do_update(
            index_elements=["user_id", "idempotency_key"],
            index_where=col(Todo.idempotency_key).is_not(None),
            # It changes nothing: a statement returns only rows that it has written.
            set_={"idempotency_key": col(Todo.idempotency_key)},
        )
        row = self._execute(statement.returning(Todo, IS_NEW)).one()
        if row.request_hash != digest:
            raise IdempotencyKeyReused
        return TodoPublic.model_validate(row), not row.is_new

    def page(self, query: TodoQuery) -> TodoPage:
        """One page of the todos, newest first. What a page costs does not depend on how far down it is."""
        statement = self._mine(select(Todo))
        if query.is_completed is not None:
            statement = statement.where(col(Todo.is_completed) == query.is_completed)
        place = sa.tuple_(col(Todo.created_at), col(Todo.id))
        if query.cursor is not None:
            statement = statement.where(place < sa.tuple_(query.cursor.created_at, query.cursor.id))
        statement = statement.order_by(col(Todo.created_at).desc(), col(Todo.id).desc())
        statement = statement.limit(query.limit + 1)  # one more tells whether a page follows
        rows = self._execute(statement).all()
        items = [TodoPublic.model_validate(row) for row in rows[: query.limit]]
        more = len(rows) > query.limit
        return TodoPage(items=items, next_cursor=str(_after(items[-1], query)) if more else None)

    def retrieve(self, todo_id: UUID) -> TodoPublic:
        """The todo with this id.

        Raises:
            TodoNotFound: the user has none.
        """
        row = self._execute(self._mine(select(Todo).where(col(Todo.id) == todo_id))).one_or_none()
        if row is None:
            raise TodoNotFound
        return TodoPublic.model_validate(row)

    def replace(self, todo_id: UUID, todo: TodoWrite, versions: Collection[datetime] | None = None) -> TodoPublic:
        """Set every field that a client decides.

        Args:
            todo_id: the todo's id.
            todo: the new values.
            versions: change the todo only if its `updated_at` is one of these; None for any.

        Raises:
            TodoNotFound: the user has no todo with this id.
            PreconditionFailed: the todo has another version.
        """
        return self._change(todo_id, todo.model_dump(), versions)

    def update(self, todo_id: UUID, patch: TodoUpdate, versions: Collection[datetime] | None = None) -> TodoPublic:
        """Set the fields that the patch names; a patch that names none only reads. Raises like `replace`."""
        fields = patch.model_dump(exclude_unset=True)
        if fields:
            return self._change(todo_id, fields, versions)
        todo = self.retrieve(todo_id)
        if versions is not None and todo.updated_at not in versions:
            raise PreconditionFailed
        return todo

    def toggle(self, todo_id: UUID, versions: Collection[datetime] | None = None) -> TodoPublic:
        """Flip `is_completed` in the database, so that concurrent flips all count. Raises like `replace`."""
        return self._change(todo_id, {"is_completed": sa.not_(col(Todo.is_completed))}, versions)

    def delete(self, todo_id: UUID, versions: Collection[datetime] | None = None) -> None:
        """Remove the todo for good. Raises like `replace`."""
        self._write(todo_id, sa.delete(Todo), versions)

    def _change(self, todo_id: UUID, fields: dict[str, Any], versions: Collection[datetime] | None) -> TodoPublic:
        return self._write(todo_id, sa.update(Todo).values(**fields, updated_at=LATER), versions)

    def _write(self, todo_id: UUID, write: sa.Update | sa.Delete, versions: Collection[datetime] | None) -> TodoPublic:
        """Change or remove a todo in the version that is now, and tell a missing one from one in another version."""
        write = self._mine(write.where(col(Todo.id) == todo_id)).returning(Todo)
        statement: sa.Executable = write
        if versions is not None:
            target = self._mine(select(Todo).where(col(Todo.id) == todo_id)).with_for_update().cte("target")
            written = write.where(col(Todo.id) == target.c.id, target.c.updated_at.in_(versions)).cte("written")
            statement = written.select().select_from(target.outerjoin(written, sa.true()))
        row = self._execute(statement).one_or_none()
        if row is None:
            raise TodoNotFound
        if row.id is None:
            raise PreconditionFailed
        return TodoPublic.model_validate(row)

    def _mine(self, statement: _Owned) -> _Owned:
        return statement.where(col(Todo.user_id) == self._user_id)

    def _execute(self, statement: sa.Executable) -> sa.Result[Any]:
        """Plain rows: the session would make an object of each first, for a tenth of the CPU time of a page."""
        return self._session.connection().execute(statement)


def _after(todo: TodoPublic, query: TodoQuery) -> Cursor:
    return Cursor(todo.created_at, todo.id, query.is_completed)


def check_ready(session: Session) -> None:
    """Ask the database, in one round trip, whether it is migrated far enough and the second wall is up.

    Raises:
        NotReady: it is not.
        DatabaseUnavailable: it did not answer, or was never migrated.
    """
    state = sa.text(
        "SELECT current_user = 'todo_app', row_security_active('todos'), (SELECT max(version_num) FROM alembic_version)"
    )
    is_app, is_walled, revision = session.connection().execute(state).one()
    if not is_app or not is_walled:
        raise NotReady("row-level security does not hold")
    if revision is None or revision < SCHEMA_REVISION:
        raise NotReady(f"the database is at revision {revision}, and {SCHEMA_REVISION} is needed")
