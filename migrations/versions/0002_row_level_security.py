"""Nothing any more: `python -m migrations` makes row-level security itself, after every migration.

Deployed databases have this number.
"""

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Change nothing."""


def downgrade() -> None:
    """Change nothing."""
