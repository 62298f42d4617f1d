"""Whether a database has what the code needs, and keeps users apart."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import AddConstraint, CreateColumn, CreateIndex
from sqlmodel import Session, SQLModel

from todo_api.database.catalog import Facts, Relation, read_facts
from todo_api.database.differences import Difference, isolation_differences, reset
from todo_api.database.isolation import DIALECT, SCHEMA, quoted


class NotReady(Exception):
    """The schema is too old, or does not isolate users; the message says in what."""


def check_ready(session: Session, *, every_column: bool = False) -> None:
    """Check in one round trip that the database has what the code needs, and isolates users.

    Args:
        session: of any user, or of none.
        every_column: see `read_facts`.

    Raises:
        NotReady: it does not.
    """
    facts = read_facts(session.connection(), every_column=every_column)
    found = [*isolation_differences(facts), *schema_differences(facts)]
    if found:
        raise NotReady("; ".join(difference.what for difference in found))


def schema_differences(facts: Facts) -> list[Difference]:
    """Return which tables, columns and unique indexes of the models the database lacks."""
    present = {
        relation.name: relation for relation in facts.relations if relation.is_table_of_models
    }
    found: list[Difference] = []
    for table in SQLModel.metadata.sorted_tables:
        if table.name in present:
            found += _of_definition(table, present[table.name], facts)
        else:
            what = f"the table {table.name} is missing"
            found.append(Difference(what, "", is_made_by_revision=True))
    return found


def _of_definition(table: sa.Table, relation: Relation, facts: Facts) -> Iterator[Difference]:
    if not relation.is_on_search_path:
        what = f"the search path does not lead to {relation}"
        yield Difference(what, reset(facts, "search_path"))
    for column in table.columns:
        if column.name not in relation.columns:
            what = f"{table.name} lacks the column {column.name}"
            sql = f"ALTER TABLE {relation} ADD COLUMN {_ddl(CreateColumn(column))}"
            may_be_added = column.nullable or column.server_default is not None  # to a row
            yield Difference(what, sql if may_be_added else "", is_made_by_revision=True)
    for constraint in table.constraints:
        is_unique = isinstance(constraint, sa.PrimaryKeyConstraint | sa.UniqueConstraint)
        if is_unique and constraint.name not in relation.unique_indexes:
            what = f"{table.name} lacks {constraint.name}"
            yield Difference(what, _ddl(AddConstraint(constraint, isolate_from_table=False)))
    for index in table.indexes:
        if index.unique and index.name not in relation.unique_indexes:
            what = f"{table.name} lacks the unique index {index.name}, or it is invalid"
            drop = f"DROP INDEX IF EXISTS {SCHEMA}.{quoted(str(index.name))}"
            yield Difference(what, f"{drop}; {_ddl(CreateIndex(index))}")


def _ddl(element: Any) -> str:
    return " ".join(str(element.compile(dialect=DIALECT)).split())
