"""The models' tables: whose rows they hold, and how they refer to each other."""

from collections.abc import Iterable, Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ExcludeConstraint

from todo_api.database.isolation import owner_of, table_isolations
from todo_api.models import tables

METADATA = tables.Todo.metadata


@pytest.mark.parametrize("table", METADATA.sorted_tables, ids=str)
def test_every_table_declares_its_owner_or_that_it_is_shared(table: sa.Table) -> None:
    owner = owner_of(table)
    if owner is not None:
        column = table.columns[owner]
        # PostgreSQL prints a policy on a column of another type with a cast.
        assert type(column.type) is sa.Text
        assert not column.nullable
        if table.name != "users":
            assert "users.id" in {key.target_fullname for key in column.foreign_keys}


def _across_users(metadata: sa.MetaData) -> list[str]:
    """Return the foreign keys by which a row may refer to a row of another owner.

    PostgreSQL checks a foreign key without row-level security: such a key would tell whether
    another user's row exists, and with ON DELETE CASCADE let that user delete this one's rows.
    """
    found = []
    for table in metadata.sorted_tables:
        for key in table.foreign_key_constraints:
            owners = (owner_of(table), owner_of(key.referred_table))
            pairs = [(element.parent.name, element.column.name) for element in key.elements]
            if None not in owners and owners not in pairs:
                found.append(f"{table.name} ({', '.join(key.column_keys)})")
    return found


def test_no_foreign_key_refers_to_a_row_of_another_owner() -> None:
    assert _across_users(METADATA) == []


def test_a_foreign_key_between_owned_tables_without_the_owner_is_found() -> None:
    metadata = sa.MetaData()
    owned = {"owner": "user_id"}
    user = sa.Column("user_id", sa.Text)
    sa.Table("lists", metadata, user, sa.Column("id", sa.Uuid, primary_key=True), info=owned)
    sa.Table(
        "items",
        metadata,
        sa.Column("user_id", sa.Text),
        sa.Column("list_id", sa.Uuid, sa.ForeignKey("lists.id")),
        sa.Column("other_id", sa.Uuid),
        sa.ForeignKeyConstraint(["user_id", "other_id"], ["lists.user_id", "lists.id"]),
        info=owned,
    )
    assert _across_users(metadata) == ["items (list_id)"]


def _unique_across_users(metadata: sa.MetaData) -> list[str]:
    """Return the keys of owned tables by which a row may clash with another owner's.

    PostgreSQL compares with the rows of all users: the clash would tell a user what another has.
    """
    found = []
    for table in metadata.sorted_tables:
        owner = owner_of(table)
        if owner is None:
            continue
        for name, parts in _unique_keys(table):
            if not any(part is table.columns[owner] for part in parts):
                found.append(f"{table.name}: {name}")
    return sorted(found)


def _unique_keys(table: sa.Table) -> Iterator[tuple[object, Iterable[object]]]:
    """Yield name and parts of each, but for a primary key that the server makes.

    No user can choose the value of such a key, so none can try another's.
    """
    for constraint in table.constraints:
        if isinstance(constraint, sa.PrimaryKeyConstraint):
            if any(column.server_default is None for column in constraint.columns):
                yield constraint.name, constraint.columns
        elif isinstance(constraint, sa.UniqueConstraint | ExcludeConstraint):
            yield constraint.name, constraint.columns
    for index in table.indexes:
        if index.unique:
            yield index.name, index.expressions


def test_no_row_clashes_with_a_row_of_another_owner() -> None:
    assert _unique_across_users(METADATA) == []


def test_a_unique_key_without_the_owner_is_found() -> None:
    metadata = sa.MetaData()
    owned = {"owner": "user_id"}
    name = sa.Column("name", sa.Text)
    sa.Table(
        "lists",
        metadata,
        sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid()),
        sa.Column("user_id", sa.Text),
        name,
        sa.UniqueConstraint("name", name="names"),
        sa.UniqueConstraint("user_id", "name", name="own names"),
        ExcludeConstraint(("name", "="), name="excluded names"),
        ExcludeConstraint(("user_id", "="), ("name", "="), name="excluded own names"),
        sa.Index("lower names", sa.func.lower(name), unique=True),
        sa.Index("names by index", "name", unique=True),
        sa.Index("own names by index", "name", "user_id", unique=True),
        sa.Index("not unique", "name"),
        info=owned,
    )
    sa.Table(
        "tags",
        metadata,
        sa.Column("user_id", sa.Text),
        sa.Column("name", sa.Text),
        sa.PrimaryKeyConstraint("name", name="chosen names"),
        info=owned,
    )
    assert _unique_across_users(metadata) == [
        "lists: excluded names",
        "lists: lower names",
        "lists: names",
        "lists: names by index",
        "tags: chosen names",
    ]


@pytest.mark.parametrize("info", [{}, {"owner": "user_id", "shared": True}, {"shared": False}])
def test_a_table_that_declares_neither_or_both_is_named(info: dict[str, object]) -> None:
    metadata = sa.MetaData()
    sa.Table("lists", metadata, sa.Column("user_id", sa.Text), info=info)
    with pytest.raises(ValueError, match="The table lists must declare in its `info` either"):
        table_isolations(metadata)


def test_a_shared_table_may_be_read_and_no_more() -> None:
    metadata = sa.MetaData()
    sa.Table("plans", metadata, sa.Column("id", sa.Text), info={"shared": True})
    (plans,) = table_isolations(metadata)
    assert (plans.owner, plans.condition, plans.rights) == (None, None, ("SELECT",))
