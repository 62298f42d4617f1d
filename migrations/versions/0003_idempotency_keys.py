"""Idempotency keys: a create that is sent again with its key finds the todo that it has made.

A key is a column of its todo, so it goes when the todo goes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the key and what it was sent with."""
    op.add_column("todos", sa.Column("idempotency_key", sa.Text))
    op.add_column("todos", sa.Column("request_hash", sa.LargeBinary))
    op.create_check_constraint(
        op.f("todos_idempotency_key_length_check"),
        "todos",
        "char_length(idempotency_key) BETWEEN 1 AND 255",
    )
    op.create_index(
        "todos_by_idempotency_key",
        "todos",
        ["user_id", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )


def downgrade() -> None:
    """Forget the keys."""
    op.drop_index("todos_by_idempotency_key", "todos")
    op.drop_column("todos", "request_hash")
    op.drop_column("todos", "idempotency_key")
