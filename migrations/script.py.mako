"""${message.replace("_", " ").capitalize()}."""

import sqlalchemy as sa
import sqlmodel.sql.sqltypes
from alembic import op
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Apply the revision."""
    ${upgrades}


def downgrade() -> None:
    """Revert it."""
    ${downgrades}
