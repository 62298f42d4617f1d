"""What the policies let the role `todo_app` do."""

from typing import Any

import psycopg2
import pytest

from dev.lab.sql import run_sql


@pytest.mark.parametrize(
    ("statement", "outcome"),
    [
        (
            "UPDATE todos SET user_id = 'thief' WHERE user_id = 'owner'",
            "violates row-level security",
        ),
        (
            "INSERT INTO todos (user_id, title) VALUES ('other', 'forged')",
            "violates row-level security",
        ),
        ("SELECT * FROM todos WHERE user_id = 'other'", []),
        ("UPDATE todos SET title = 'theirs' WHERE user_id = 'other' RETURNING *", []),
        ("DELETE FROM todos WHERE user_id = 'other' RETURNING *", []),
    ],
)
def test_the_policies_keep_every_row_with_its_owner(
    migrated: str, statement: str, outcome: str | list[Any]
) -> None:
    """As the role, in SQL that no filter protects."""
    run_sql(
        migrated,
        "INSERT INTO users (id) VALUES ('owner'), ('other'), ('thief') ON CONFLICT DO NOTHING",
        "INSERT INTO todos (user_id, title) VALUES ('owner', 'own'), ('other', 'theirs')",
    )
    as_owner = ("SET ROLE todo_app", "SET app.user_id = 'owner'")
    if isinstance(outcome, str):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege, match=outcome):
            run_sql(migrated, *as_owner, statement)
    else:
        assert run_sql(migrated, *as_owner, statement) == outcome
