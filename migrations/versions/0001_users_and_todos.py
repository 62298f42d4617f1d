"""Users and todos."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "users",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("users_pkey")),
        sa.CheckConstraint("char_length(id) BETWEEN 1 AND 255", name=op.f("users_id_length_check")),
    )
    op.create_table(
        "todos",
        sa.Column("id", sa.Uuid, nullable=False, server_default=sa.func.gen_random_uuid()),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("is_completed", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("todos_pkey")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("todos_user_id_fkey"), ondelete="CASCADE"
        ),
        sa.CheckConstraint(
            "char_length(title) BETWEEN 1 AND 255", name=op.f("todos_title_length_check")
        ),
        sa.CheckConstraint(
            "char_length(description) <= 2000", name=op.f("todos_description_length_check")
        ),
    )
    op.create_index("todos_by_user", "todos", ["user_id", "created_at", "id"])
    op.create_index(
        "todos_by_user_and_completion", "todos", ["user_id", "is_completed", "created_at", "id"]
    )


def downgrade() -> None:
    """Drop both tables, and every row."""
    op.drop_table("todos")
    op.drop_table("users")
