"""Whether the schema has what the code needs, and keeps users apart."""

import sqlalchemy as sa
from sqlmodel import Session

from todo_api.models.tables import Todo

# Without a user. The columns are those that the role may use, the policies those that apply to it.
READINESS_SQL = """
SELECT
    current_user = 'todo_app' AND row_security_active('users') AND row_security_active('todos')
        AS is_isolated,
    ARRAY(
        SELECT concat_ws(' ', tablename, cmd, qual, with_check) FROM pg_policies
        WHERE tablename IN ('users', 'todos') AND roles && '{todo_app,public}' ORDER BY 1
    ) AS policies,
    ARRAY(
        SELECT attname::text FROM pg_attribute
        WHERE attrelid = 'todos'::regclass AND has_column_privilege(attrelid, attnum, 'SELECT')
        AND has_column_privilege(attrelid, attnum, 'INSERT')
        AND has_column_privilege(attrelid, attnum, 'UPDATE')
    ) AS columns
"""
_CALLER = "current_setting('app.user_id'::text, true)"
POLICIES = [
    f"{table} ALL ({column} = {_CALLER}) ({column} = {_CALLER})"
    for table, column in (("todos", "user_id"), ("users", "id"))
]


class NotReady(Exception):
    """The schema is too old, or does not isolate users; the message says which."""


def check_ready(session: Session) -> None:
    """Check in one round trip that the schema has every column of the code, and isolates users.

    Raises:
        NotReady: it does not. (A database that was never migrated is `DatabaseUnavailable`.)
    """
    row = session.connection().execute(sa.text(READINESS_SQL)).one()
    if not row.is_isolated or row.policies != POLICIES:
        raise NotReady("row-level security is off, or has other policies")
    missing = {column.name for column in sa.inspect(Todo).columns} - set(row.columns)
    if missing:
        raise NotReady(f"todos lacks columns, or rights on them: {', '.join(sorted(missing))}")
