"""What Alembic runs for each command (https://alembic.sqlalchemy.org/en/latest/tutorial.html#editing-the-ini-file)."""

from alembic import context
from sqlalchemy import text

from todo_api.models.tables import Todo

_LOCK = 7_030_461_218_340_771
"""An arbitrary number, the same in every release: whoever holds this advisory lock is migrating."""

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Todo.metadata)
with context.begin_transaction():
    # Several deploys may migrate one database at once. The lock comes before the look at the current revision.
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    context.run_migrations()
