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
def users(uri: str) -> Iterator[tuple[Caller, Caller]]:
    """Two users with rows in every table that the API writes."""
    with app_on(uri) as api:
        yield new_caller("ada", api), new_caller("ben", api)


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


def test_an_export_has_each_row_of_the_user_and_no_other(uri: str, ada: str, ben: str) -> None:
    exported = json.loads(export_rows(uri, ada))

    owners = {table.name: table.owner for table in table_isolations() if table.owner}
    assert exported.keys() == owners.keys()
    assert {name: len(rows) for name, rows in exported.items()} == _counts(uri, ada)
    found = {row[owners[name]] for name, rows in exported.items() for row in rows}
    assert found == {ada}
    assert rows_of(uri, ben) != []


def test_erase_deletes_each_row_of_the_user_and_no_other(uri: str, ada: str, ben: str) -> None:
    expected = _counts(uri, ada)
    others = rows_of(uri, ben)

    assert erase_rows(uri, ada) == expected

    assert rows_of(uri, ada) == []
    assert rows_of(uri, ben) == others


def test_restore_after_erase_gives_the_same_rows(uri: str, ada: str, ben: str) -> None:
    before = rows_of(uri, ada)
    others = rows_of(uri, ben)
    exported = export_rows(uri, ada)
    erase_rows(uri, ada)

    assert restore_rows(uri, ada, exported) == _counts(uri, ada)

    assert rows_of(uri, ada) == before
    assert rows_of(uri, ben) == others


def test_restore_inserts_what_is_missing_and_leaves_what_is_there(
    uri: str, users: tuple[Caller, Caller]
) -> None:
    ada, _ = users
    exported = export_rows(uri, ada.user_id)
    before = rows_of(uri, ada.user_id)
    deleted, changed = ada.api("GET", "/v1/todos", user=ada.user_id).json()["items"][:2]
    ada.api("POST", f"/v1/todos/{changed['id']}/toggle", user=ada.user_id)
    ada.api("POST", "/v1/todos", user=ada.user_id, json={"title": "New"})
    there = rows_of(uri, ada.user_id)
    ada.api("DELETE", f"/v1/todos/{deleted['id']}", user=ada.user_id)

    assert restore_rows(uri, ada.user_id, exported) == {"todos": 1}

    assert rows_of(uri, ada.user_id) == there
    assert there != before


def test_restore_where_nothing_is_missing_changes_nothing(uri: str, ada: str) -> None:
    before = rows_of(uri, ada)

    assert restore_rows(uri, ada, export_rows(uri, ada)) == {}

    assert rows_of(uri, ada) == before


def test_another_users_rows_in_an_export_are_not_inserted(uri: str, ada: str, ben: str) -> None:
    before = rows_of(uri, ben)
    of_ada = json.loads(export_rows(uri, ada))
    of_ben = json.loads(export_rows(uri, ben))
    of_both = json.dumps({table: of_ada[table] + of_ben[table] for table in of_ada})
    erase_rows(uri, ada)
    erase_rows(uri, ben)

    restore_rows(uri, ben, of_both)

    assert rows_of(uri, ada) == []
    assert rows_of(uri, ben) == before


def test_a_user_id_is_a_value_and_never_sql(uri: str, ada: str) -> None:
    user_id = """'"%s%(x)s\\;--{}"""
    others = rows_of(uri, ada)
    with app_on(uri) as call:
        call("POST", "/v1/todos", user=user_id, json={"title": "Mine"})
    exported = export_rows(uri, user_id)

    assert erase_rows(uri, user_id) == {"todos": 1, "users": 1}
    assert restore_rows(uri, user_id, exported) == {"todos": 1, "users": 1}

    assert export_rows(uri, user_id) == exported
    assert rows_of(uri, ada) == others


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


def test_the_command_line_exports_erases_and_restores_and_counts(uri: str, run: Run) -> None:
    with app_on(uri) as call:
        call("POST", "/v1/todos", user="auth0|1", json={"title": "Mine"})
    before = rows_of(uri, "auth0|1")

    exported, said = run("export", uri, "auth0|1")

    assert json.loads(exported) == json.loads(export_rows(uri, "auth0|1"))
    assert said == "Exported: 1 of users, 1 of todos\n"
    assert run("erase", uri, "auth0|1") == ("Deleted: 1 of todos, 1 of users\n", "")
    assert run("erase", uri, "auth0|1") == ("Deleted: nothing\n", "")
    assert run("restore", uri, "auth0|1", exported) == ("Inserted: 1 of users, 1 of todos\n", "")
    assert rows_of(uri, "auth0|1") == before


def test_a_failure_is_a_sentence_without_the_password(uri: str, run: Run) -> None:
    password = parse_dsn(uri)["password"]
    wrong = uri.replace(f":{password}@", ":secret-of-the-owner@")

    with pytest.raises(SystemExit, match="password authentication failed") as failure:
        run("export", wrong, "ada")

    assert "secret-of-the-owner" not in str(failure.value)


# --- other tables ---------------------------------------------------------------------------------


def test_tables_with_other_keys_and_columns_are_erased_and_restored(uri: str) -> None:
    with albums_of_eve_and_fay(uri):
        expected = _counts(uri, "eve")
        before = rows_of(uri, "eve")
        others = rows_of(uri, "fay")
        exported = export_rows(uri, "eve")

        assert erase_rows(uri, "eve") == expected == {"users": 1, "albums": 1, "album tracks": 1}
        assert rows_of(uri, "eve") == []
        assert rows_of(uri, "fay") == others

        assert restore_rows(uri, "eve", exported) == expected
        assert rows_of(uri, "eve") == before
        assert rows_of(uri, "fay") == others


def test_a_column_that_is_newer_than_the_export_gets_its_default(uri: str) -> None:
    with app_on(uri) as call:
        todo = call("POST", "/v1/todos", user="ada", json={"title": "x"}).json()
    exported = export_rows(uri, "ada")
    run_sql(uri, "ALTER TABLE todos ADD priority int NOT NULL DEFAULT 3", "DELETE FROM todos")

    assert restore_rows(uri, "ada", exported) == {"todos": 1}

    assert run_sql(uri, "SELECT id::text, priority FROM todos") == [(todo["id"], 3)]


# --- refusals -------------------------------------------------------------------------------------


def test_rows_of_an_unknown_table_are_refused_and_nothing_is_inserted(uri: str) -> None:
    exported = json.dumps({"users": [{"id": "ada"}], "later": [{"user_id": "ada"}]})

    with pytest.raises(UserRowsError, match="tables that this code does not have: later"):
        restore_rows(uri, "ada", exported)

    assert rows_of(uri, "ada") == []


@pytest.mark.parametrize("text", ["", "[]", '{"todos": 5}', '{"todos": [5]}', '{"todos": null}'])
def test_a_file_that_is_no_export_is_refused(uri: str, text: str) -> None:
    with pytest.raises(UserRowsError, match="The input is not an export"):
        restore_rows(uri, "ada", text)


def test_the_export_of_another_user_is_refused(uri: str, ada: str, ben: str) -> None:
    exported = export_rows(uri, ada)
    erase_rows(uri, ada)

    with pytest.raises(UserRowsError, match=f"it has no row of {ben}"):
        restore_rows(uri, ben, exported)

    assert rows_of(uri, ada) == []


COMMANDS: list[Callable[[str, str], Any]] = [
    export_rows,
    erase_rows,
    lambda uri, user_id: restore_rows(uri, user_id, json.dumps({"users": [{"id": user_id}]})),
]


@pytest.mark.parametrize("command", COMMANDS, ids=["export", "erase", "restore"])
def test_a_database_of_another_release_is_refused(
    uri: str, ada: str, command: Callable[[str, str], Any]
) -> None:
    before = rows_of(uri, ada)
    run_sql(uri, "UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(UserRowsError, match="at revision 9999, and this code at 0"):
        command(uri, ada)

    assert rows_of(uri, ada) == before


@pytest.fixture
def support(uri: str) -> Iterator[str]:
    """The database's URI for a role with all rights, which row-level security applies to."""
    run_sql(
        uri,
        "CREATE ROLE support LOGIN PASSWORD 's'",
        "GRANT SELECT, INSERT, DELETE ON ALL TABLES IN SCHEMA public TO support",
    )
    try:
        yield uri.replace(f"postgres:{parse_dsn(uri)['password']}@", "support:s@")
    finally:
        run_sql(uri, "DROP OWNED BY support", "DROP ROLE support")


@pytest.mark.parametrize("command", COMMANDS, ids=["export", "erase", "restore"])
def test_a_role_that_row_level_security_hides_rows_from_is_refused(
    uri: str, ada: str, support: str, command: Callable[[str, str], Any]
) -> None:
    before = rows_of(uri, ada)
    with closing(psycopg2.connect(support)) as session, session.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM todos")
        assert cursor.fetchone() == (0,)

    with pytest.raises(psycopg2.ProgrammingError, match="row-level security policy"):
        command(support, ada)

    assert rows_of(uri, ada) == before
