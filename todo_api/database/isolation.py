"""Isolation between users, derived from the models: the one description that all else follows.

Requests send `SESSION_SETUP_SQL` with each statement. `differences.py` compares a database with
`table_isolations`: `/ready` reports what differs, and `python -m migrations` repairs it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlmodel import SQLModel

from todo_api.models import tables as _tables  # noqa: F401  # fills the metadata

ROLE = "todo_app"
"""The role of every request's statement. It cannot log in, nor bypass row-level security."""

SCHEMA = "public"
"""The schema of the tables."""

POLICY = "own_rows"
"""The name of the policy of every table with an owner."""

# Sent with every statement, in the same message and so in the same transaction. Row-level
# security then limits the statement to the rows of the session's user. The settings end with the
# transaction, before the pooler's next client. No value of a statement has a name with a dot:
# SQLAlchemy replaces dots.
SESSION_SETUP_SQL = (
    f"SELECT set_config('role', '{ROLE}', true), "
    "set_config('app.user_id', %(session.user_id)s, true), "
    "set_config('statement_timeout', %(session.timeout)s, true); "
)

# An unset app.user_id reads as null or '', which no user id is.
CALLER = "current_setting('app.user_id'::text, true)"

# SQLAlchemy's dialects have no types. Made once: /ready formats the name of each column.
DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]

READ_AND_WRITE = ("SELECT", "INSERT", "UPDATE", "DELETE")
READ_ONLY = ("SELECT",)


@dataclass(frozen=True)
class TableIsolation:
    """What keeps the rows of one table apart."""

    name: str
    owner: str | None
    """The column with the user id of a row's owner. None: a shared table, which all may read."""
    rights: tuple[str, ...]
    """Of the role, as GRANT takes them: `SELECT`, `INSERT (id)`."""

    @property
    def condition(self) -> str | None:
        """The policy's condition, as PostgreSQL prints it."""
        return None if self.owner is None else f"({quoted(self.owner)} = {CALLER})"


def quoted(name: str) -> str:
    """Return an identifier as SQL, in quotes only where it needs them."""
    return str(DIALECT.identifier_preparer.quote(name))


def owner_of(table: sa.Table) -> str | None:
    """Return the name of the column that holds the owner's user id, or None for a shared table.

    Raises:
        ValueError: the table declares neither, so nothing could protect its rows.
    """
    owner: str | None = table.info.get("owner")
    if (owner is None) is (table.info.get("shared") is not True):
        raise ValueError(
            f"The table {table.name} must declare in its `info` either the column that holds its "
            'owner\'s user id, as {"owner": "user_id"}, or {"shared": True}.'
        )
    return owner


def table_isolations(metadata: sa.MetaData = SQLModel.metadata) -> list[TableIsolation]:
    """Describe the isolation of every table of the models. Raises like `owner_of`."""
    return [_isolation_of(table) for table in metadata.sorted_tables]


def _isolation_of(table: sa.Table) -> TableIsolation:
    owner = owner_of(table)
    info: Mapping[Any, Any] = table.info
    rights = info.get("rights", READ_ONLY if owner is None else READ_AND_WRITE)
    return TableIsolation(table.name, owner, tuple(rights))
