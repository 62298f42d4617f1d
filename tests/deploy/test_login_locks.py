"""Which logins a deploy locks, whose sessions it ends, and deploys at the same time."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import psycopg2
import pytest
from psycopg2.extensions import connection

from deploy.login_roles import LoginError
from deploy.runtime_login import ADVISORY_LOCK, renew
from dev.lab.sql import changed_database, run_sql
from tests.support.postgres.clusters import OWNER
from tests.support.postgres.logins import MemoryParameter, created, logins, renew_in_a_process, user

pytestmark = pytest.mark.slow

GONE = (psycopg2.OperationalError, psycopg2.InterfaceError)


def may_log_in(uri: str, *names: str) -> dict[str, bool]:
    """Return which of these roles may log in."""
    rows = run_sql(uri, "SELECT rolname, rolcanlogin FROM pg_roles")
    return {name: value for name, value in rows if name in names}


def working(uri: str, stage: str) -> list[str]:
    """Return the logins of a stage that are not locked."""
    return [name for name, may_log_in in logins(uri, stage) if may_log_in]


def is_refused(uri: str) -> bool:
    """Whether the server refuses a login."""
    try:
        run_sql(uri, "SELECT 1")
    except psycopg2.OperationalError as error:
        return "password authentication failed" in str(error)
    return False


@contextmanager
def session(uri: str) -> Iterator[connection]:
    """Open a session in autocommit mode."""
    with closing(psycopg2.connect(uri)) as opened:
        opened.autocommit = True
        yield opened


def query(opened: connection, statement: str) -> list[tuple[object, ...]]:
    """Run a query in a session."""
    with opened.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


# --- which logins ---------------------------------------------------------------------------------


def test_every_login_of_the_stage_and_database_is_locked_but_the_one_in_the_parameter(
    owner: str, stage: str
) -> None:
    role = f"todo_app_{stage.replace('-', '_')}"
    forgotten = created(owner, stage)  # as after a deploy that ended before it locked it
    run_sql(owner, f"COMMENT ON ROLE {user(forgotten)} IS NULL")  # of an earlier release
    overwritten = created(owner, f"{stage}-other")
    comment = f"todo-api: the function's login, stage {stage}, database todo".replace("'", "''")
    run_sql(owner, f"COMMENT ON ROLE {user(overwritten)} IS '{comment}'")  # whatever its name
    other_stage = created(owner, f"{stage}-1234abcd")
    elsewhere = f"{role}_0000000a"
    of_somebody = f"{role}_reports"
    for name in (elsewhere, of_somebody):
        run_sql(owner, f"CREATE ROLE {name} LOGIN")
    comment = comment.replace("database todo", "database other")
    run_sql(owner, f"COMMENT ON ROLE {elsewhere} IS '{comment}'")
    parameter = MemoryParameter(created(owner, f"{stage}-unused"))
    assert renew(owner, stage, parameter) == []
    names = [user(uri) for uri in (forgotten, overwritten, other_stage, parameter.value)]
    assert may_log_in(owner, *names, elsewhere, of_somebody) == {
        user(forgotten): False,
        user(overwritten): False,
        user(other_stage): True,
        user(parameter.value): True,
        elsewhere: True,
        of_somebody: True,
    }
    assert is_refused(forgotten)
    assert is_refused(overwritten)
    assert run_sql(other_stage, "SELECT 1") == [(1,)]


def test_a_login_of_an_earlier_release_is_marked_as_of_its_database(owner: str, stage: str) -> None:
    parameter = MemoryParameter(created(owner, stage))
    name = user(parameter.value)
    run_sql(owner, f"COMMENT ON ROLE {name} IS NULL")
    assert renew(owner, stage, parameter) == []
    comment = f"SELECT shobj_description('{name}'::regrole, 'pg_authid')"
    assert run_sql(owner, comment) == [
        (f"todo-api: the function's login, stage {stage}, database todo",)
    ]


def test_a_login_that_the_owner_may_not_lock_stops_the_deploy_with_the_sql(
    cluster: tuple[str, str], stage: str
) -> None:
    owner, superuser = cluster
    parameter = MemoryParameter(created(owner, stage))
    name = f"todo_app_{stage.replace('-', '_')}_0000000b"
    run_sql(superuser, f"CREATE ROLE {name} SUPERUSER LOGIN")
    with pytest.raises(LoginError) as refused:
        renew(owner, stage, parameter)
    statement = f'ALTER ROLE "{name}" NOLOGIN PASSWORD NULL'
    assert str(refused.value) == (
        f"{OWNER} may not lock the other logins of the function, and so they still work. As a role "
        f"that may, run: {statement}. The function keeps its login."
    )
    run_sql(superuser, statement)
    assert renew(owner, stage, parameter) == []


# --- their sessions -------------------------------------------------------------------------------


def test_an_idle_session_of_a_locked_login_ends_at_once(owner: str, stage: str) -> None:
    old = created(owner, stage)
    with session(old) as idle:
        start = time.monotonic()
        notes = renew(owner, stage, MemoryParameter(old), rotate=True, request_seconds=60)
        assert time.monotonic() - start < 60
        assert len(notes) == 1  # of the new login
        with pytest.raises(GONE):
            query(idle, "SELECT 1")


def test_a_statement_of_a_locked_login_may_end_within_the_time_of_a_request(
    owner: str, stage: str
) -> None:
    old = created(owner, stage)
    with session(old) as busy, ThreadPoolExecutor(1) as executor:
        request = executor.submit(query, busy, "SELECT 1 FROM pg_sleep(4)")
        renew(owner, stage, MemoryParameter(old), rotate=True, request_seconds=60)
        assert request.result() == [(1,)]
        with pytest.raises(GONE):
            query(busy, "SELECT 1")


def test_a_statement_of_a_locked_login_ends_after_the_time_of_a_request(
    owner: str, stage: str
) -> None:
    old = created(owner, stage)
    with session(old) as busy, ThreadPoolExecutor(1) as executor:
        request = executor.submit(query, busy, "SELECT pg_sleep(60)")
        renew(owner, stage, MemoryParameter(old), rotate=True, request_seconds=0.5)
        with pytest.raises(GONE):
            request.result()


def test_the_owner_is_no_member_of_a_login_after_it_has_ended_its_sessions(
    owner: str, stage: str
) -> None:
    old = created(owner, stage)
    with session(old):
        renew(owner, stage, MemoryParameter(old), rotate=True)
    may_act = f"SELECT pg_has_role('{user(old)}', 'USAGE')"
    assert run_sql(owner, may_act) == [(False,)]


def test_sessions_that_the_owner_may_not_end_are_named_with_the_sql(
    cluster: tuple[str, str], stage: str
) -> None:
    owner, superuser = cluster
    parameter = MemoryParameter(created(owner, stage))
    name = f"todo_app_{stage.replace('-', '_')}_0000000c"
    run_sql(superuser, f"CREATE ROLE {name} LOGIN PASSWORD 'of-the-test'")
    with (
        session(
            superuser.replace(superuser.split("@")[0], f"postgresql://{name}:of-the-test")
        ) as thief,
        changed_database(
            superuser, f"ALTER ROLE {OWNER} NOCREATEROLE", f"ALTER ROLE {OWNER} CREATEROLE"
        ),
    ):
        run_sql(superuser, f"ALTER ROLE {name} NOLOGIN")
        ((pid,),) = query(thief, "SELECT pg_backend_pid()")
        (note,) = renew(owner, stage, parameter)
        assert note == (
            f"{OWNER} may not end all sessions of the logins that are locked now. As a role that "
            f"may, run: SELECT pg_terminate_backend({pid})."
        )
        run_sql(superuser, note.split("run: ")[1].removesuffix("."))
        assert renew(owner, stage, parameter) == []


# --- deploys at the same time ---------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--rotate",)], ids=["first deploys", "rotations"])
def test_of_deploys_at_once_one_login_works_in_the_end(
    owner: str, stage: str, options: tuple[str, ...]
) -> None:
    parameter = MemoryParameter()
    with ThreadPoolExecutor(3) as executor:
        steps = [
            executor.submit(renew_in_a_process, owner, stage, parameter, *options) for _ in range(3)
        ]
        outcomes = [step.result() for step in steps]
    assert [code for code, _ in outcomes] == [0, 0, 0], outcomes
    assert run_sql(parameter.value, "SELECT 1") == [(1,)]
    assert working(owner, stage) == [user(parameter.value)]


def test_a_parameter_that_is_overwritten_during_a_deploy_names_the_login_that_stays(
    owner: str, stage: str
) -> None:
    other = created(owner, stage)

    class Overwritten(MemoryParameter):
        def write(self, _: str) -> None:
            self.value = other

    renew(owner, stage, Overwritten())
    assert run_sql(other, "SELECT 1") == [(1,)]
    assert working(owner, stage) == [user(other)]


def test_whoever_holds_the_lock_of_the_logins_is_named(
    owner: str, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.runtime_login.LOCK_SECONDS", 0.3)
    parameter = MemoryParameter(created(owner, stage))
    with session(parameter.value) as thief:
        ((_, pid),) = query(
            thief, f"SELECT pg_advisory_lock({ADVISORY_LOCK})::text, pg_backend_pid()"
        )
        with pytest.raises(LoginError) as held:
            renew(owner, stage, parameter, rotate=True)
    name = user(parameter.value)
    assert f"The lock is held by pid {pid} of the role {name}." in str(held.value)
    assert str(held.value).endswith("Nothing was changed.")
