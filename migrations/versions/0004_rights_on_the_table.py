"""Rights of `todo_app` on the table, not on single columns: a new column needs no grant of its own.

The policies of row-level security keep every row with its owner, whatever a statement writes.
"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Grant the rights on the table."""
    op.execute("REVOKE INSERT, UPDATE ON todos FROM todo_app")  # also revokes them on the columns
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON todos TO todo_app")


def downgrade() -> None:
    """Grant the rights on the columns of the revision before."""
    op.execute("REVOKE INSERT, UPDATE ON todos FROM todo_app")
    op.execute(
        "GRANT INSERT (user_id, title, description, is_completed, idempotency_key, request_hash), "
        "UPDATE (title, description, is_completed, updated_at, idempotency_key) "
        "ON todos TO todo_app"
    )
