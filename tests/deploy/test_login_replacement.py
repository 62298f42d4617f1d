"""When a deploy keeps the function's login, and when it replaces it."""

import secrets
import traceback
from collections.abc import Callable
from unittest.mock import Mock

import pytest
from psycopg2.extensions import parse_dsn

from deploy.login_roles import LoginError
from deploy.runtime_login import renew
from dev.lab.sql import changed_database, run_sql
from tests.support.postgres.clusters import OWNER
from tests.support.postgres.logins import MemoryParameter, created, logins, user

pytestmark = pytest.mark.slow


def test_the_url_is_the_owners_with_another_user_and_a_password_of_256_bits(
    owner: str, stage: str
) -> None:
    options = "?sslmode=prefer&application_name=a%20b"
    first = parse_dsn(created(owner + options, stage))
    second = parse_dsn(created(owner + options, stage))
    address = {
        name: value
        for name, value in parse_dsn(owner + options).items()
        if name not in ("user", "password")
    }
    assert {name: first[name] for name in address} == address
    assert set(first) == {*address, "user", "password"}
    assert len(first["password"]) == len(second["password"]) == 43  # 6 bits in each character
    assert first["password"] != second["password"]


def test_a_login_that_is_right_stays_unless_it_is_to_be_rotated(owner: str, stage: str) -> None:
    login = created(owner, stage)
    for url in (login, login.replace("postgresql://", "postgres://")):
        parameter = MemoryParameter(url)
        assert renew(owner, stage, parameter) == []
        assert parameter.value == url
    assert logins(owner, stage) == [(user(login), True)]
    rotated = created(owner, stage, login, rotate=True)
    assert logins(owner, stage) == sorted([(user(login), False), (user(rotated), True)])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda login, _: login.replace(parse_dsn(login)["password"], "refused"), "was refused"),
        (lambda login, _: login + "?sslmode=prefer", "another database than the owner's"),
        (lambda login, _: login.replace("/todo", "/postgres"), "another database than the owner's"),
        (lambda login, _: login.replace(user(login), "nobody"), "the server has no login nobody"),
        (lambda _, owner: owner, "the parameter held the owner's login"),
        (lambda _login, _owner: "not a URL", "the parameter held no connection string"),
    ],
    ids=["refused", "other options", "other database", "no role", "owner", "no URL"],
)
def test_a_login_that_is_not_of_this_database_or_is_refused_is_replaced(
    owner: str, stage: str, change: Callable[[str, str], str], reason: str
) -> None:
    parameter = MemoryParameter(change(created(owner, stage), owner))
    notes = renew(owner, stage, parameter)
    assert reason in notes[0]
    assert run_sql(parameter.value, "SELECT 1") == [(1,)]
    assert [may_log_in for _, may_log_in in logins(owner, stage)].count(True) == 1


@pytest.mark.parametrize(
    ("widen", "undo", "reason"),
    [
        ("ALTER ROLE {login} BYPASSRLS", "", "it has the attribute BYPASSRLS"),
        ("ALTER ROLE {login} CREATEROLE", "", "it has the attribute CREATEROLE"),
        ("ALTER ROLE {login} CREATEDB", "", "it has the attribute CREATEDB"),
        ("ALTER ROLE {login} REPLICATION", "", "it has the attribute REPLICATION"),
        ("ALTER ROLE {login} SUPERUSER", "", "it has the attribute SUPERUSER"),
        ("GRANT pg_monitor TO {login}", "", "it is a member of pg_monitor, todo_app"),
        ("GRANT todo_app TO {login} WITH ADMIN OPTION", "", "todo_app WITH ADMIN OPTION"),
        (
            "CREATE SCHEMA of_login AUTHORIZATION {login}",
            "DROP SCHEMA of_login",
            "it owns something (1)",
        ),
        (
            "GRANT SELECT ON users TO {login}",
            "REVOKE ALL ON users FROM {login}",
            "it has rights of its own (1)",
        ),
        (
            "GRANT CREATE ON SCHEMA public TO {login}",
            "REVOKE CREATE ON SCHEMA public FROM {login}",
            "it may create in the schema public",
        ),
        (
            "GRANT CREATE ON DATABASE todo TO {login}",
            "REVOKE CREATE ON DATABASE todo FROM {login}",
            "it may create schemas",
        ),
        ("ALTER ROLE {login} SET row_security = off", "", "row_security is off"),
    ],
)
def test_a_login_that_works_but_may_more_than_it_should_is_replaced(
    cluster: tuple[str, str], stage: str, widen: str, undo: str, reason: str
) -> None:
    owner, superuser = cluster
    wide = created(owner, stage)
    with changed_database(
        superuser, widen.format(login=user(wide)), undo.format(login=user(wide)) or "SELECT"
    ):
        parameter = MemoryParameter(wide)
        notes = renew(superuser_owner(owner, superuser, widen), stage, parameter)
    assert reason in notes[0]
    assert logins(owner, stage) == sorted([(user(wide), False), (user(parameter.value), True)])


def superuser_owner(owner: str, superuser: str, widen: str) -> str:
    """Return the owner, or the superuser where only that may lock what a role has become."""
    only_superuser = ("SUPERUSER", "REPLICATION", "BYPASSRLS")
    return superuser if widen.endswith(only_superuser) else owner


def test_a_login_that_does_not_pass_the_check_of_ready_is_dropped(owner: str, stage: str) -> None:
    turn = "ALTER TABLE todos {} ROW LEVEL SECURITY"
    reason = "does not work, and was dropped: row-level security is off"
    with (
        changed_database(owner, turn.format("DISABLE"), turn.format("ENABLE")),
        pytest.raises(LoginError, match=reason),
    ):
        renew(owner, stage, MemoryParameter())
    assert logins(owner, stage) == []


def test_a_column_of_another_table_that_everybody_may_read_stops_the_deploy(
    owner: str, stage: str
) -> None:
    readable = (
        "CREATE TABLE remarks (user_id text); GRANT SELECT (user_id) ON remarks TO PUBLIC",
        "DROP TABLE remarks",
    )
    reason = r"was dropped: todo_app may SELECT \(user_id\) on public\.remarks"
    with changed_database(owner, *readable), pytest.raises(LoginError, match=reason):
        renew(owner, stage, MemoryParameter())
    assert logins(owner, stage) == []


def test_an_owner_without_createrole_gets_the_sql_to_run_by_hand(
    cluster: tuple[str, str], stage: str
) -> None:
    owner, superuser = cluster
    parameter = MemoryParameter()
    with changed_database(
        superuser, f"ALTER ROLE {OWNER} NOCREATEROLE", f"ALTER ROLE {OWNER} CREATEROLE"
    ):
        with pytest.raises(LoginError, match="permission denied") as refused:
            renew(owner, stage, parameter)
        statements = str(refused.value).split("run: ")[1].split("; then")[0].split("; ")
        run_sql(superuser, *(statement.replace("…", "by-hand") for statement in statements))
        ((name, _),) = logins(owner, stage)
        parameter.value = owner.replace(f"{OWNER}:of-the-test", f"{name}:by-hand")
        assert renew(owner, stage, parameter) == []
    assert run_sql(parameter.value, "SELECT 1") == [(1,)]


@pytest.mark.parametrize(
    ("fault", "undo"),
    [
        (f"ALTER ROLE {OWNER} NOCREATEROLE", f"ALTER ROLE {OWNER} CREATEROLE"),
        ("ALTER ROLE todo_app RENAME TO other_app", "ALTER ROLE other_app RENAME TO todo_app"),
        ("REVOKE SELECT ON todos FROM todo_app", "GRANT SELECT ON todos TO todo_app"),
    ],
)
def test_no_error_shows_the_new_password(
    cluster: tuple[str, str], stage: str, fault: str, undo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, superuser = cluster
    generate = Mock(return_value="t0p-s3cr3t")
    monkeypatch.setattr(secrets, "token_urlsafe", generate)
    with changed_database(superuser, fault, undo), pytest.raises(LoginError) as raised:
        renew(owner, stage, MemoryParameter())
    generate.assert_called()
    assert "t0p-s3cr3t" not in "".join(traceback.format_exception(raised.value))


def test_a_user_outside_of_the_usual_place_in_the_url_is_refused(owner: str, stage: str) -> None:
    with pytest.raises(LoginError, match="must stand before its host"):
        renew(f"{owner}?user={OWNER}", stage, MemoryParameter())
    assert logins(owner, stage) == []


def test_an_owners_password_with_a_question_mark_is_replaced_like_any_other(
    cluster: tuple[str, str], stage: str
) -> None:
    owner, superuser = cluster
    with changed_database(
        superuser,
        f"ALTER ROLE {OWNER} PASSWORD 'which?one'",
        f"ALTER ROLE {OWNER} PASSWORD 'of-the-test'",
    ):
        login = created(owner.replace("of-the-test", "which?one"), stage)
    assert run_sql(login, "SELECT session_user::text") == [(user(login),)]
