"""Migrations to a named revision.

Also of a database that is ahead of the code, and of revisions that contradict others.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dev.lab.sql import run_sql
from migrations.__main__ import main, migrate
from tests.support.postgres.revisions import (
    EXISTING,
    NEWEST,
    NEXT,
    SECOND,
    THIRD,
    Revisions,
    revision_of,
)

Run = Callable[..., tuple[object, str]]


@pytest.fixture
def run(uri: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `python -m migrations` on it, and return the exit code and the output.

    Instead of the exit code, it may be the message that the process ends with.
    """

    def run(*arguments: str) -> tuple[object, str]:
        monkeypatch.setenv("NEON_DATABASE_URL", uri)
        monkeypatch.setattr(sys, "argv", ["migrations", *arguments])
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        return code, capsys.readouterr().out.strip()

    return run


def test_a_database_ahead_of_the_code_is_left_as_it_is(
    uri: str, run: Run, revisions: Revisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    revisions.add(NEXT, NEWEST, "ALTER TABLE todos ADD IF NOT EXISTS due_at timestamptz")
    migrate(uri)
    monkeypatch.undo()
    is_newer = f"the database is at revision {NEXT}, and the newest of this code is {NEWEST}"
    assert run() == (0, f"Nothing to do: {is_newer}.")
    is_unknown = f"The database is at revision {NEXT}, which this code does not have"
    for target in ("0003", NEWEST, "base", "-1"):
        assert run(target) == (f"{is_unknown}: nothing was changed.", "")
    assert revision_of(uri) == NEXT


def test_a_column_that_no_revision_makes_is_reported_with_the_command_that_writes_one(
    uri: str, run: Run
) -> None:
    run()
    run_sql(uri, "ALTER TABLE todos DROP COLUMN description")
    assert run() == (
        f"The database is at revision {NEWEST}, but not as the models describe it: todos lacks the "
        "column description. As a role that may, run: ALTER TABLE public.todos ADD COLUMN "
        "description TEXT; and then migrate again. What is missing comes from a revision, which "
        "`make revision NAME=…` writes, or from a backup.",
        "",
    )


def test_a_database_of_another_project_is_refused(uri: str, run: Run) -> None:
    run_sql(
        uri,
        "CREATE TABLE alembic_version (version_num text)",
        "INSERT INTO alembic_version VALUES ('1975ea83b712')",
    )
    is_unknown = "The database is at revision 1975ea83b712, which this code does not have"
    assert run() == (f"{is_unknown}: nothing was changed.", "")


def test_a_migration_goes_to_the_named_revision_in_either_direction(uri: str, run: Run) -> None:
    assert run(NEWEST) == (0, f"The database is migrated from revision base to {NEWEST}.")
    assert run("0003") == (0, f"The database is migrated from revision {NEWEST} to 0003.")
    assert run("-2") == (0, "The database is migrated from revision 0003 to 0001.")
    assert run("0002") == (0, "The database is migrated from revision 0001 to 0002.")
    assert run("0002") == (0, "Nothing to do: the database is at revision 0002.")
    assert run("-3") == ("The database is at revision 0002: it cannot go back by 3.", "")
    assert revision_of(uri) == "0002"
    assert run("base") == (0, "The database is migrated from revision 0002 to base.")
    assert run_sql(uri, "SELECT to_regclass('todos') IS NULL") == [(True,)]


@pytest.mark.parametrize("target", ["0042", "000", "+1", "-0", "heads", ""])
def test_an_unknown_revision_is_refused_in_one_sentence(uri: str, run: Run, target: str) -> None:
    choices = f"base, {', '.join(EXISTING)}, head, or -1 to go one back"
    assert run(target) == (f"There is no revision {target}: choose one of {choices}.", "")
    assert run_sql(uri, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]


@pytest.mark.parametrize(
    ("added", "after", "problem"),
    [
        (NEWEST, "0003", f"Revision {NEWEST} is present more than once"),
        (NEXT, NEWEST, f"Revision {NEXT} is present more than once"),
        (SECOND, NEWEST, f"{NEXT} and {SECOND} are both the newest"),
        (THIRD, SECOND, f"Revision {SECOND} referenced from {SECOND} -> {THIRD}"),
    ],
)
def test_revisions_that_are_not_one_chain_are_refused_in_one_sentence(
    run: Run, revisions: Revisions, added: str, after: str, problem: str
) -> None:
    revisions.add(NEXT, NEWEST, file=f"{NEXT}_due_at")
    revisions.add(added, after, file=f"{added}_color")
    code, _ = run()
    assert str(code).startswith("The revisions in migrations/versions are not one chain (")
    assert problem in str(code)
    assert "\n" not in str(code)


def test_a_failed_revision_is_rolled_back_and_those_before_it_stay(
    uri: str, run: Run, revisions: Revisions
) -> None:
    revisions.add(NEXT, NEWEST, "CREATE TABLE first ()")
    revisions.add(SECOND, NEXT, "CREATE TABLE second ()", "SELECT 1 / 0")
    code, _ = run()
    failed = f"The migration from revision {NEXT} to {SECOND} failed"
    assert code == f"{failed}, and the database is at revision {NEXT}: division by zero"
    assert revision_of(uri) == NEXT
    assert run_sql(uri, "SELECT to_regclass('first') IS NULL, to_regclass('second') IS NULL") == [
        (False, True)
    ]


@pytest.mark.parametrize("context", ["nullcontext()", "op.get_context().autocommit_block()"])
def test_a_lost_connection_is_reported_with_both_possible_revisions(
    run: Run, revisions: Revisions, context: str
) -> None:
    terminate = "op.execute('SELECT pg_terminate_backend(pg_backend_pid())')"
    upgrade = (
        "from contextlib import nullcontext\n"
        f"def upgrade():\n    with {context}:\n        {terminate}\n"
    )
    revisions.write(NEXT, NEXT, NEWEST, upgrade)
    code, _ = run()
    assert str(code) == (
        f"The migration from revision {NEWEST} to {NEXT} failed: "
        "the connection was lost, so the database is at one of the two. Run this again."
    )


def test_a_folder_with_a_percent_sign_in_its_name_can_be_migrated_from(
    uri: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Revisions(tmp_path / "100% %(here)s" / "migrations", monkeypatch)
    assert run() == (0, f"The database is migrated from revision base to {NEWEST}.")
    assert revision_of(uri) == NEWEST
