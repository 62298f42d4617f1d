"""Nothing any more: `python -m migrations` grants the rights itself, after every migration.

Deployed databases have this number.
"""

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Change nothing."""


def downgrade() -> None:
    """Change nothing."""
