"""Databases that were moved to another server: what the next migration makes right, and says."""

import subprocess
from collections.abc import Callable
from functools import cache

import pytest
from alembic.util import CommandError

from dev.lab.sql import run_sql
from migrations.__main__ import migrate
from tests.support.http.apps import app_on, ready_status
from tests.support.postgres.clusters import BINARIES, EACH_VERSION, OWNER, Uris, of_database
from tests.support.postgres.damages import Change
from tests.support.postgres.revisions import NEWEST, NOTHING_TO_DO, revision_of

LOST = (
    "the role todo_app is missing; neondb_owner may not switch to todo_app; "
    "todo_app may not use the schema public; "
    "todos does not have the policy as described, but none; "
    "users does not have the policy as described, but none; "
    "todo_app may not DELETE, INSERT, SELECT, UPDATE on todos; "
    "todo_app may not INSERT (id) on users"
)
"""What a dump without the role does not bring along."""


@pytest.fixture(scope="module")
def dump_of(empty: Callable[[str], Uris]) -> Callable[[str], bytes]:
    """Dump a migrated database of this version, with one todo."""

    @cache
    def dump(version: str) -> bytes:
        owner, _ = empty(version)
        migrate(owner)
        call = app_on(owner)
        assert call("POST", "/v1/todos", user="alice", json={"title": "Buy milk"}).status == 201
        return _run(version, "pg_dump", "--format=custom", "--no-owner", owner).stdout

    return dump


@pytest.fixture
def restore(
    empty: Callable[[str], Uris], dump_of: Callable[[str], bytes]
) -> Callable[[str, str], Uris]:
    """Restore the dump of one version on an empty cluster of another."""

    def restore(source: str, target: str) -> Uris:
        dump = dump_of(source)
        owner, superuser = empty(target)
        done = _run(target, "pg_restore", "--no-owner", f"--dbname={owner}", stdin=dump)
        # It fails on what names the role, and goes on.
        assert 'role "todo_app" does not exist' in done.stderr.decode()
        return owner, superuser

    return restore


def _run(
    version: str, program: str, *arguments: str, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    binaries = BINARIES[version]
    assert binaries
    command = [str(binaries / program), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, check=False)


def assert_works_for_two_users(uri: str) -> None:
    call = app_on(uri)
    assert call("GET", "/ready").status == 200
    (kept,) = call("GET", "/v1/todos", user="alice").json()["items"]
    assert kept["title"] == "Buy milk"
    assert call("GET", "/v1/todos", user="bob").json()["items"] == []
    assert call("POST", "/v1/todos", user="bob", json={"title": "x"}).status == 201
    assert call("DELETE", f"/v1/todos/{kept['id']}", user="bob").status == 404
    assert call("POST", f"/v1/todos/{kept['id']}/toggle", user="alice").status == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("wheel", "wheel"),
        pytest.param("system", "wheel", marks=pytest.mark.system_postgres),
        pytest.param("system", "system", marks=pytest.mark.system_postgres),
    ],
)
def test_the_next_migration_heals_a_restored_database(
    restore: Callable[[str, str], Uris], source: str, target: str
) -> None:
    owner, _ = restore(source, target)
    assert revision_of(owner) == NEWEST
    assert ready_status(owner) == 503

    said = migrate(owner)

    assert said == f"{NOTHING_TO_DO} Repaired: {LOST}."
    assert migrate(owner) == NOTHING_TO_DO
    assert_works_for_two_users(owner)


@pytest.mark.parametrize("version", EACH_VERSION)
def test_an_owner_that_may_not_create_the_role_gets_the_sql_for_somebody_who_may(
    restore: Callable[[str, str], Uris], version: str
) -> None:
    owner, superuser = restore(version, version)
    run_sql(superuser, f"ALTER ROLE {OWNER} NOCREATEROLE")

    found, sql = _refused(owner)

    assert found == LOST
    assert sql[:2] == [
        "CREATE ROLE todo_app NOLOGIN",
        f"GRANT todo_app TO {OWNER}{' WITH SET TRUE' if version == 'wheel' else ''}",
    ]
    run_sql(superuser, *sql)
    assert migrate(owner) == NOTHING_TO_DO
    assert_works_for_two_users(owner)


def test_the_two_statements_that_the_owner_may_not_run_are_enough(
    restore: Callable[[str, str], Uris],
) -> None:
    owner, superuser = restore("wheel", "wheel")
    run_sql(superuser, f"ALTER ROLE {OWNER} NOCREATEROLE")
    run_sql(superuser, *_refused(owner)[1][:2])

    said = migrate(owner)

    assert said.startswith(f"{NOTHING_TO_DO} Repaired: todos does not have the policy as described")
    assert_works_for_two_users(owner)


@pytest.mark.parametrize("revision", ["0001", "0003"])
def test_a_branch_that_is_reset_to_an_older_parent_is_migrated_and_healed(
    new_migrated_todo: str, revision: str
) -> None:
    """The parent is of a release that had its policies and rights in revisions, or none yet."""
    uri = new_migrated_todo
    migrate(uri, revision)
    run_sql(
        uri,
        "DROP POLICY own_rows ON todos",
        "DROP POLICY own_rows ON users",
        "ALTER TABLE todos DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE users DISABLE ROW LEVEL SECURITY",
        "REVOKE ALL ON todos, users FROM todo_app",
        "GRANT SELECT ON alembic_version TO todo_app",
        "GRANT SELECT, DELETE, INSERT (user_id, title), UPDATE (title) ON todos TO todo_app",
    )

    said = migrate(uri)

    assert said.startswith(f"The database is migrated from revision {revision} to {NEWEST}. ")
    assert "row-level security is off on todos" in said
    assert migrate(uri) == NOTHING_TO_DO
    assert_works_for_two_users(uri)


@pytest.fixture
def new_migrated_todo(change: Change) -> str:
    """The URI of a migrated database with one todo."""
    return change(
        [
            "INSERT INTO users (id) VALUES ('alice')",
            "INSERT INTO todos (user_id, title) VALUES ('alice', 'Buy milk')",
        ]
    )


# --- other owners ---------------------------------------------------------------------------------


@pytest.fixture(params=EACH_VERSION)
def migrated_uris(request: pytest.FixtureRequest, empty: Callable[[str], Uris]) -> Uris:
    """A migrated database of either version."""
    uris = empty(request.param)
    migrate(uris[0])
    return uris


def _refused(uri: str) -> tuple[str, list[str]]:
    """Migrate in vain, and return what the message says differs, and its SQL."""
    with pytest.raises(CommandError) as refused:
        migrate(uri)
    message = str(refused.value)
    _, _, rest = message.partition("not as the models describe it: ")
    found, _, sql = rest.partition(". As a role that may, run: ")
    return found, sql.removesuffix("; and then migrate again.").split("; ")


def test_another_owner_than_the_one_that_made_the_role_is_told_what_that_one_has_to_run(
    migrated_uris: Uris,
) -> None:
    owner, superuser = migrated_uris
    run_sql(superuser, "CREATE ROLE other LOGIN CREATEROLE CREATEDB PASSWORD 'of-the-other'")
    other = owner.replace(f"{OWNER}:of-the-test", "other:of-the-other")
    run_sql(of_database(other, "postgres"), "CREATE DATABASE second")
    second = of_database(other, "second")
    has_admin_options = run_sql(owner, "SHOW server_version_num")[0][0] >= "160000"

    if not has_admin_options:  # CREATEROLE was enough for everything
        assert migrate(second) == f"The database is migrated from revision base to {NEWEST}."
        return
    assert _refused(second) == (
        "other may not switch to todo_app",
        ["GRANT todo_app TO other WITH SET TRUE"],
    )
    run_sql(owner, "ALTER ROLE todo_app CREATEDB")
    found, sql = _refused(second)
    run_sql(superuser, *sql)

    assert found == "other may not switch to todo_app; todo_app has the attribute CREATEDB"
    assert migrate(second) == NOTHING_TO_DO


def test_a_revoke_by_somebody_who_does_not_own_the_schema_is_not_taken_for_done(
    migrated_uris: Uris,
) -> None:
    owner, superuser = migrated_uris
    run_sql(
        superuser,
        "CREATE ROLE other",
        "ALTER SCHEMA public OWNER TO other",
        "GRANT ALL ON SCHEMA public TO PUBLIC",
    )

    found, sql = _refused(owner)

    assert found == "todo_app may create in the schema public"
    assert sql == ["REVOKE CREATE ON SCHEMA public FROM PUBLIC, todo_app"]
    run_sql(superuser, *sql)
    assert migrate(owner) == NOTHING_TO_DO


def test_a_grant_on_a_table_of_somebody_else_is_for_its_owner_to_revoke(
    migrated_uris: Uris,
) -> None:
    owner, superuser = migrated_uris
    run_sql(
        superuser,
        "CREATE TABLE remarks (user_id text)",
        "GRANT SELECT ON remarks TO todo_app",
        "CREATE TABLE more (user_id text)",
        "GRANT SELECT ON more TO PUBLIC",
    )

    found, sql = _refused(owner)

    assert found == (
        "todo_app may SELECT on public.more, without a policy for own rows; "
        "todo_app may SELECT on public.remarks, without a policy for own rows"
    )
    run_sql(superuser, *sql)
    assert migrate(owner) == NOTHING_TO_DO
