"""Statements on the rows of one user, for any table with an owner.

Each reads and writes only that user's rows. In comments, `todos` stands for any table.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import Insert, insert

from todo_api.models.page import Cursor
from todo_api.models.tables import User


class PreconditionFailed(Exception):
    """The row has another version than the request names."""


def owned(table: sa.Table, user_id: str) -> sa.ColumnElement[bool]:
    """Return the condition for the rows of one user: `todos.user_id = 'alice'`."""
    return table.columns[table.info["owner"]] == user_id


def insert_row(table: sa.Table, user_id: str, values: Mapping[str, Any]) -> Insert:
    """Insert a row of the user, and the user if it is their first row of all."""
    # WITH new_user AS (INSERT INTO users (id) VALUES ('alice') ON CONFLICT DO NOTHING)
    # INSERT INTO todos (user_id, …) VALUES ('alice', …)
    new_user = insert(User).values(id=user_id).on_conflict_do_nothing().cte("new_user")
    row = {**values, table.info["owner"]: user_id}
    return insert(table).add_cte(new_user).values(row)


def select_row(table: sa.Table, user_id: str, row_id: UUID) -> sa.Select[Any]:
    """Select one row."""
    # SELECT * FROM todos WHERE user_id = 'alice' AND id = '…'
    has_id = table.columns.id == row_id
    return sa.select(table).where(owned(table, user_id), has_id)


def select_page(
    table: sa.Table,
    user_id: str,
    filters: Mapping[str, Any],
    limit: int,
    cursor: Cursor | None,
) -> sa.Select[Any]:
    """Select the newest rows, or those after the cursor, and one more if there is.

    With an index on owner, filters, time and id each page costs the same, however far down.

    Args:
        table: a table with `created_at` and `id`.
        user_id: the owner of the rows.
        filters: the values of columns.
        limit: the number of rows of a page.
        cursor: the last row of the page before, if there is one.
    """
    # SELECT * FROM todos WHERE user_id = 'alice' AND is_completed = true
    # AND (created_at, id) < ('…', '…') ORDER BY created_at DESC, id DESC LIMIT 51
    created_at = table.columns.created_at
    id_ = table.columns.id
    statement = sa.select(table).where(owned(table, user_id))
    for column, value in filters.items():
        statement = statement.where(table.columns[column] == value)
    if cursor is not None:
        position = sa.tuple_(cursor.created_at, cursor.id)
        statement = statement.where(sa.tuple_(created_at, id_) < position)
    newest_first = statement.order_by(created_at.desc(), id_.desc())
    return newest_first.limit(limit + 1)


def page_of(
    result: sa.Result[Any], filters: Mapping[str, Any], limit: int
) -> tuple[Sequence[sa.Row[Any]], str | None]:
    """Return the rows of a page, and the cursor of the next if there is one."""
    found = result.all()
    if len(found) <= limit:
        return found, None
    last = found[limit - 1]
    return found[:limit], str(Cursor(last.created_at, last.id, filters))


def update_row(
    table: sa.Table,
    user_id: str,
    row_id: UUID,
    values: Mapping[str, Any],
    versions: Collection[datetime] | None,
) -> sa.Executable:
    """Change one row if it has one of these versions, or any if None. See `_write_row`.

    Without values it only reads.
    """
    if not values:
        return _read_row(table, user_id, row_id, versions)
    # UPDATE todos SET …, updated_at = greatest(clock_timestamp(), updated_at + '1 microsecond')
    # Now, but always later than the previous value, even if the clock was set back.
    later = table.columns.updated_at + timedelta(microseconds=1)
    updated_at = sa.func.greatest(sa.func.clock_timestamp(), later)
    write = sa.update(table).values(**values, updated_at=updated_at)
    return _write_row(table, user_id, row_id, write, versions)


def delete_row(
    table: sa.Table,
    user_id: str,
    row_id: UUID,
    versions: Collection[datetime] | None,
) -> sa.Executable:
    """Delete one row if it has one of these versions, or any if None. See `_write_row`."""
    return _write_row(table, user_id, row_id, sa.delete(table), versions)


def _write_row(
    table: sa.Table,
    user_id: str,
    row_id: UUID,
    write: sa.Update | sa.Delete,
    versions: Collection[datetime] | None,
) -> sa.Executable:
    """Return a statement whose result `written_row` reads."""
    has_id = table.columns.id == row_id
    write = write.where(owned(table, user_id), has_id).returning(table)
    if versions is None:
        return write
    # WITH target AS (SELECT … WHERE user_id = 'alice' AND id = '…' FOR UPDATE),
    #     written AS (UPDATE … FROM target WHERE … AND target.updated_at IN (…) RETURNING …)
    # SELECT written.* FROM target LEFT JOIN written ON true
    # FOR UPDATE: the version is compared after concurrent writes.
    target = select_row(table, user_id, row_id).with_for_update().cte("target")
    has_version = target.columns.updated_at.in_(versions)
    is_target = table.columns.id == target.columns.id
    written = write.where(is_target, has_version).cte("written")
    return written.select().select_from(target.outerjoin(written, sa.true()))


def _read_row(
    table: sa.Table,
    user_id: str,
    row_id: UUID,
    versions: Collection[datetime] | None,
) -> sa.Executable:
    """Return a statement that changes nothing, with a result like that of `_write_row`."""
    read = select_row(table, user_id, row_id)
    if versions is None:
        return read
    target = read.cte("target")
    has_version = target.columns.updated_at.in_(versions)
    found = sa.select(target).where(has_version).cte("found")
    return found.select().select_from(target.outerjoin(found, sa.true()))


def written_row(result: sa.Result[Any]) -> sa.Row[Any] | None:
    """Return the row that a write has changed, read or deleted, or None if the user has none.

    Raises:
        PreconditionFailed: the row has another version: all columns are null.
    """
    row = result.one_or_none()
    if row is not None and row.id is None:
        raise PreconditionFailed
    return row
