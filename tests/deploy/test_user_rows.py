"""All rows of one user: exported, erased and restored, and no other user's."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from io import StringIO
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from deploy.user_rows import UserRowsError, erase_rows, export_rows, main, restore_rows
from dev.lab.sql import rows_of, run_sql
from tests.support.documents.walk import Caller, new_caller
from tests.support.http.apps import app_on
from tests.support.postgres.albums import albums_of_eve_and_fay
from todo_api.database.isolation import table_isolations

Run = Callable[..., tuple[str, str]]


@pytest.fixture
def users(migrated: str) -> tuple[Caller, Caller]:
    """Two users with rows in every table that the API writes."""
    api = app_on(migrated)
    return new_caller("ada", api), new_caller("ben", api)


@pytest.fixture
def ada(users: tuple[Caller, Caller]) -> str:
    """The id of a user with rows."""
    return users[0].user_id


@pytest.fixture
def ben(users: tuple[Caller, Caller]) -> str:
    """The id of another."""
    return users[1].user_id


def _counts(uri: str, user_id: str) -> dict[str, int]:
    """Return how many rows a user has, by table."""
    names = [name for name, _ in rows_of(uri, user_id)]
    return {name: names.count(name) for name in names}


# --- the three commands ---------------------------------------------------------------------------


def test_an_export_has_each_row_of_the_user_and_no_other(migrated: str, ada: str, ben: str) -> None:
    exported = json.loads(export_rows(migrated, ada))

    owners = {table.name: table.owner for table in table_isolations() if table.owner}
    assert exported.keys() == owners.keys()
    assert {name: len(rows) for name, rows in exported.items()} == _counts(migrated, ada)
    found = {row[owners[name]] for name, rows in exported.items() for row in rows}
    assert found == {ada}
    assert rows_of(migrated, ben) != []


def test_erase_deletes_each_row_of_the_user_and_no_other(migrated: str, ada: str, ben: str) -> None:
    expected = _counts(migrated, ada)
    others = rows_of(migrated, ben)

    assert erase_rows(migrated, ada) == expected

    assert rows_of(migrated, ada) == []
    assert rows_of(migrated, ben) == others


def test_restore_after_erase_gives_the_same_rows(migrated: str, ada: str, ben: str) -> None:
    before = rows_of(migrated, ada)
    others = rows_of(migrated, ben)
    exported = export_rows(migrated, ada)
    erase_rows(migrated, ada)

    assert restore_rows(migrated, ada, exported) == _counts(migrated, ada)

    assert rows_of(migrated, ada) == before
    assert rows_of(migrated, ben) == others


def test_restore_inserts_what_is_missing_and_leaves_what_is_there(
    migrated: str, users: tuple[Caller, Caller]
) -> None:
    ada, _ = users
    exported = export_rows(migrated, ada.user_id)
    before = rows_of(migrated, ada.user_id)
    deleted, changed = ada.api("GET", "/v1/todos", user=ada.user_id).json()["items"][:2]
    ada.api("POST", f"/v1/todos/{changed['id']}/toggle", user=ada.user_id)
    ada.api("POST", "/v1/todos", user=ada.user_id, json={"title": "New"})
    there = rows_of(migrated, ada.user_id)
    ada.api("DELETE", f"/v1/todos/{deleted['id']}", user=ada.user_id)

    assert restore_rows(migrated, ada.user_id, exported) == {"todos": 1}

    assert rows_of(migrated, ada.user_id) == there
    assert there != before


def test_restore_where_nothing_is_missing_changes_nothing(migrated: str, ada: str) -> None:
    before = rows_of(migrated, ada)

    assert restore_rows(migrated, ada, export_rows(migrated, ada)) == {}

    assert rows_of(migrated, ada) == before


def test_another_users_rows_in_an_export_are_not_inserted(
    migrated: str, ada: str, ben: str
) -> None:
    before = rows_of(migrated, ben)
    of_ada = json.loads(export_rows(migrated, ada))
    of_ben = json.loads(export_rows(migrated, ben))
    of_both = json.dumps({table: of_ada[table] + of_ben[table] for table in of_ada})
    erase_rows(migrated, ada)
    erase_rows(migrated, ben)

    restore_rows(migrated, ben, of_both)

    assert rows_of(migrated, ada) == []
    assert rows_of(migrated, ben) == before


def test_a_user_id_is_a_value_and_never_sql(migrated: str, ada: str) -> None:
    user_id = """'"%s%(x)s\\;--{}"""
    others = rows_of(migrated, ada)
    call = app_on(migrated)
    call("POST", "/v1/todos", user=user_id, json={"title": "Mine"})
    exported = export_rows(migrated, user_id)

    assert erase_rows(migrated, user_id) == {"todos": 1, "users": 1}
    assert restore_rows(migrated, user_id, exported) == {"todos": 1, "users": 1}

    assert export_rows(migrated, user_id) == exported
    assert rows_of(migrated, ada) == others


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command, and return what it prints to standard output and to standard error."""

    def run(command: str, uri: str, user_id: str, text: str = "") -> tuple[str, str]:
        monkeypatch.setenv("NEON_DATABASE_URL", uri)
        monkeypatch.setattr(sys, "argv", ["user_rows", command, user_id])
        monkeypatch.setattr(sys, "stdin", StringIO(text))
        main()
        captured = capsys.readouterr()
        return captured.out, captured.err

    return run


def test_the_command_line_exports_erases_and_restores_and_counts(migrated: str, run: Run) -> None:
    call = app_on(migrated)
    call("POST", "/v1/todos", user="auth0|1", json={"title": "Mine"})
    before = rows_of(migrated, "auth0|1")

    exported, said = run("export", migrated, "auth0|1")

    assert json.loads(exported) == json.loads(export_rows(migrated, "auth0|1"))
    assert said == "Exported: 1 of users, 1 of todos\n"
    assert run("erase", migrated, "auth0|1") == ("Deleted: 1 of todos, 1 of users\n", "")
    assert run("erase", migrated, "auth0|1") == ("Deleted: nothing\n", "")
    assert run("restore", migrated, "auth0|1", exported) == (
        "Inserted: 1 of users, 1 of todos\n",
        "",
    )
    assert rows_of(migrated, "auth0|1") == before


def test_a_failure_is_a_sentence_without_the_password(migrated: str, run: Run) -> None:
    password = parse_dsn(migrated)["password"]
    wrong = migrated.replace(f":{password}@", ":secret-of-the-owner@")

    with pytest.raises(SystemExit, match="password authentication failed") as failure:
        run("export", wrong, "ada")

    assert "secret-of-the-owner" not in str(failure.value)


# --- other tables ---------------------------------------------------------------------------------


def test_tables_with_other_keys_and_columns_are_erased_and_restored(migrated: str) -> None:
    with albums_of_eve_and_fay(migrated):
        expected = _counts(migrated, "eve")
        before = rows_of(migrated, "eve")
        others = rows_of(migrated, "fay")
        exported = export_rows(migrated, "eve")

        assert (
            erase_rows(migrated, "eve") == expected == {"users": 1, "albums": 1, "album tracks": 1}
        )
        assert rows_of(migrated, "eve") == []
        assert rows_of(migrated, "fay") == others

        assert restore_rows(migrated, "eve", exported) == expected
        assert rows_of(migrated, "eve") == before
        assert rows_of(migrated, "fay") == others


def test_a_column_that_is_newer_than_the_export_gets_its_default(migrated: str) -> None:
    call = app_on(migrated)
    todo = call("POST", "/v1/todos", user="ada", json={"title": "x"}).json()
    exported = export_rows(migrated, "ada")
    run_sql(migrated, "ALTER TABLE todos ADD priority int NOT NULL DEFAULT 3", "DELETE FROM todos")

    assert restore_rows(migrated, "ada", exported) == {"todos": 1}

    assert run_sql(migrated, "SELECT id::text, priority FROM todos") == [(todo["id"], 3)]


# --- refusals -------------------------------------------------------------------------------------


def test_rows_of_an_unknown_table_are_refused_and_nothing_is_inserted(migrated: str) -> None:
    exported = json.dumps({"users": [{"id": "ada"}], "later": [{"user_id": "ada"}]})

    with pytest.raises(UserRowsError, match="tables that this code does not have: later"):
        restore_rows(migrated, "ada", exported)

    assert rows_of(migrated, "ada") == []


@pytest.mark.parametrize("text", ["", "[]", '{"todos": 5}', '{"todos": [5]}', '{"todos": null}'])
def test_a_file_that_is_no_export_is_refused(migrated: str, text: str) -> None:
    with pytest.raises(UserRowsError, match="The input is not an export"):
        restore_rows(migrated, "ada", text)


def test_the_export_of_another_user_is_refused(migrated: str, ada: str, ben: str) -> None:
    exported = export_rows(migrated, ada)
    erase_rows(migrated, ada)

    with pytest.raises(UserRowsError, match=f"it has no row of {ben}"):
        restore_rows(migrated, ben, exported)

    assert rows_of(migrated, ada) == []


COMMANDS: list[Callable[[str, str], Any]] = [
    export_rows,
    erase_rows,
    lambda uri, user_id: restore_rows(uri, user_id, json.dumps({"users": [{"id": user_id}]})),
]


@pytest.mark.parametrize("command", COMMANDS, ids=["export", "erase", "restore"])
def test_a_database_of_another_release_is_refused(
    migrated: str, ada: str, command: Callable[[str, str], Any]
) -> None:
    before = rows_of(migrated, ada)
    run_sql(migrated, "UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(UserRowsError, match="at revision 9999, and this code at 0"):
        command(migrated, ada)

    assert rows_of(migrated, ada) == before


@pytest.fixture
def support(migrated: str) -> Iterator[str]:
    """The database's URI for a role with all rights, which row-level security applies to."""
    run_sql(
        migrated,
        "CREATE ROLE support LOGIN PASSWORD 's'",
        "GRANT SELECT, INSERT, DELETE ON ALL TABLES IN SCHEMA public TO support",
    )
    try:
        yield migrated.replace(f"postgres:{parse_dsn(migrated)['password']}@", "support:s@")
    finally:
        run_sql(migrated, "DROP OWNED BY support", "DROP ROLE support")


@pytest.mark.parametrize("command", COMMANDS, ids=["export", "erase", "restore"])
def test_a_role_that_row_level_security_hides_rows_from_is_refused(
    migrated: str, ada: str, support: str, command: Callable[[str, str], Any]
) -> None:
    before = rows_of(migrated, ada)
    with closing(psycopg2.connect(support)) as session, session.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM todos")
        assert cursor.fetchone() == (0,)

    with pytest.raises(psycopg2.ProgrammingError, match="row-level security policy"):
        command(support, ada)

    assert rows_of(migrated, ada) == before
