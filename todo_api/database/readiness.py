"""Whether a database has what the code needs, and isolates users."""

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
    found = isolation_differences(facts) + schema_differences(facts)
    if found:
        raise NotReady("; ".join(difference.what for difference in found))


def schema_differences(facts: Facts) -> list[Difference]:
    """Return which tables, columns and unique indexes of the models the database lacks."""
    present = {
        relation.name: relation for relation in facts.relations if relation.is_table_of_models
    }
    found: list[Difference] = []
    for table in SQLModel.metadata.sorted_tables:
        relation = present.get(table.name)
        if relation is None:
            what = f"the table {table.name} is missing"
            found.append(Difference(what, "", is_made_by_revision=True))
        else:
            found += _of_search_path(relation, facts)
            found += _of_columns(table, relation)
            found += _of_unique_indexes(table, relation)
    return found


def _of_search_path(relation: Relation, facts: Facts) -> Iterator[Difference]:
    if not relation.is_on_search_path:
        what = f"the search path does not lead to {relation}"
        yield Difference(what, reset(facts, "search_path"))


def _of_columns(table: sa.Table, relation: Relation) -> Iterator[Difference]:
    for column in table.columns:
        if column.name in relation.columns:
            continue
        what = f"{table.name} lacks the column {column.name}"
        sql = ""
        # Else no statement can add it to the rows that are there.
        if column.nullable or column.server_default is not None:
            definition = _ddl(CreateColumn(column))
            sql = f"ALTER TABLE {relation} ADD COLUMN {definition}"
        yield Difference(what, sql, is_made_by_revision=True)


def _of_unique_indexes(
    table: sa.Table,
    relation: Relation,
) -> Iterator[Difference]:
    for constraint in table.constraints:
        is_unique = isinstance(constraint, sa.PrimaryKeyConstraint | sa.UniqueConstraint)
        if is_unique and constraint.name not in relation.unique_indexes:
            what = f"{table.name} lacks {constraint.name}"
            sql = _ddl(AddConstraint(constraint, isolate_from_table=False))
            yield Difference(what, sql)
    for index in table.indexes:
        if index.unique and index.name not in relation.unique_indexes:
            what = f"{table.name} lacks the unique index {index.name}, or it is invalid"
            name = quoted(str(index.name))
            sql = f"DROP INDEX IF EXISTS {SCHEMA}.{name}; {_ddl(CreateIndex(index))}"
            yield Difference(what, sql)


def _ddl(element: Any) -> str:
    sql = str(element.compile(dialect=DIALECT))
    return " ".join(sql.split())
