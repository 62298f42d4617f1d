"""The login's step with a database that is away, or hardened."""

from typing import Any

import pytest
from alembic.util import CommandError
from psycopg2.extensions import parse_dsn

from deploy.login_roles import LoginError, Roles
from deploy.runtime_login import renew
from dev.lab.proxy import FaultyProxy
from dev.lab.sql import changed_database, run_sql
from migrations.__main__ import migrate
from tests.support.postgres.clusters import OWNER, of_port
from tests.support.postgres.logins import MemoryParameter, created, logins, user

pytestmark = pytest.mark.slow

# Where the proxy answers for the server, its version does not matter.
on_one_version = pytest.mark.parametrize("cluster", ["wheel"], indirect=True)


@on_one_version
@pytest.mark.parametrize("fault", ["silent", "reset, then silent"])
def test_a_database_that_is_away_for_the_login_is_an_error_and_changes_nothing(
    owner: str, stage: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.login_check.CHECK_SECONDS", 1)
    pooled = FaultyProxy(int(parse_dsn(owner)["port"]))
    monkeypatch.setattr("deploy.login_roles.direct_url", lambda _: owner)
    monkeypatch.setattr("deploy.runtime_login.direct_url", lambda _: owner)
    through_pooler = of_port(owner, pooled.port)
    login = created(through_pooler, stage)
    before = logins(owner, stage)
    pooled.fault = fault
    parameter = MemoryParameter(login)
    with pytest.raises(LoginError) as away:
        renew(through_pooler, stage, parameter)
    assert str(away.value).startswith(
        f"The database does not answer the function's login {user(login)} (waited for up to 1 s; "
    )
    assert str(away.value).endswith("Deploy again when it does. Nothing was changed.")
    assert parameter.value == login
    pooled.end_fault()
    monkeypatch.setattr("deploy.login_check.CHECK_SECONDS", 10)
    assert renew(through_pooler, stage, parameter) == []
    assert logins(owner, stage) == before


@on_one_version
@pytest.mark.parametrize(
    ("fault", "what", "seconds"),
    [("silent", "an attempt to connect", 0.5), ("frozen before the query", "a statement", 3)],
)
def test_a_database_that_does_not_answer_the_owner_is_an_error_and_changes_nothing(
    owner: str,
    stage: str,
    fault: str,
    what: str,
    seconds: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("migrations.owner.CONNECT_SECONDS", seconds)
    proxy = FaultyProxy(int(parse_dsn(owner)["port"]))
    proxy.fault = fault
    with pytest.raises(LoginError) as away:
        renew(of_port(owner, proxy.port), stage, MemoryParameter())
    assert str(away.value) == (
        f"The owner's connection failed: 127.0.0.1 has not answered {what} for {seconds} s. "
        "Nothing was changed."
    )


def test_a_database_that_freezes_while_the_login_is_made_is_an_error_that_says_how_far_it_came(
    owner: str, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Roles.run

    def freezing(roles: Roles, statement: str, **values: object) -> list[tuple[Any, ...]]:
        return run(roles, f"SELECT pg_sleep(30); {statement}", **values)

    class Freezing(MemoryParameter):
        def write(self, url: str) -> None:
            super().write(url)
            monkeypatch.setattr("deploy.login_roles.STATEMENT_SECONDS", 0.5)
            monkeypatch.setattr(Roles, "run", freezing)

    parameter = Freezing()
    with pytest.raises(LoginError) as frozen:
        renew(owner, stage, parameter)
    assert str(frozen.value) == (
        "The owner's connection failed: 127.0.0.1 has not answered a statement of the owner for "
        "0.5 s. The parameter holds a new login. Others may still work: deploy again."
    )
    monkeypatch.setattr("deploy.login_roles.STATEMENT_SECONDS", 30)
    monkeypatch.setattr(Roles, "run", run)
    assert renew(owner, stage, parameter) == []


# --- hardened databases ---------------------------------------------------------------------------


def test_a_database_that_public_may_not_connect_to_lets_the_login_in(
    owner: str, stage: str
) -> None:
    with changed_database(
        owner,
        "REVOKE CONNECT ON DATABASE todo FROM PUBLIC",
        "GRANT CONNECT ON DATABASE todo TO PUBLIC",
    ):
        parameter = MemoryParameter(created(owner, stage))
        old = parameter.value
        assert run_sql(old, "SELECT 1") == [(1,)]
        run_sql(owner, f"REVOKE CONNECT ON DATABASE todo FROM {user(old)}")
        assert renew(owner, stage, parameter) == []  # grants it again
        assert run_sql(old, "SELECT 1") == [(1,)]
        created(owner, stage, old, rotate=True)
    run_sql(owner, f"DROP ROLE {user(old)}")  # nothing that was granted to it stands in the way


def test_an_owner_that_may_not_let_the_login_connect_gets_the_sql(
    cluster: tuple[str, str], stage: str
) -> None:
    owner, superuser = cluster
    run_sql(superuser, "ALTER DATABASE todo OWNER TO postgres")
    with changed_database(
        superuser,
        f"REVOKE CONNECT ON DATABASE todo FROM PUBLIC; GRANT CONNECT ON DATABASE todo TO {OWNER}",
        f"ALTER DATABASE todo OWNER TO {OWNER}",
        "GRANT CONNECT ON DATABASE todo TO PUBLIC",
    ):
        with pytest.raises(LoginError) as refused:
            renew(owner, stage, MemoryParameter())
        assert logins(owner, stage) == []
        statement = str(refused.value).split("run: ")[1].split(". ")[0]
        run_sql(superuser, statement)
        assert run_sql(created(owner, stage), "SELECT 1") == [(1,)]
        run_sql(superuser, f"REVOKE ALL ON DATABASE todo FROM {OWNER} CASCADE")


def test_a_schema_that_everybody_may_create_in_is_named_with_the_sql(
    owner: str, stage: str
) -> None:
    with changed_database(
        owner, "CREATE SCHEMA shared; GRANT CREATE ON SCHEMA shared TO PUBLIC", "DROP SCHEMA shared"
    ):
        with pytest.raises(LoginError) as refused:
            renew(owner, stage, MemoryParameter())
        assert logins(owner, stage) == []
        statement = str(refused.value).split("(")[1].split(")")[0]
        assert statement == 'REVOKE CREATE ON SCHEMA "shared" FROM PUBLIC'
        run_sql(owner, statement)
        created(owner, stage)


def test_a_schema_of_somebody_else_stops_the_migration_with_the_sql(
    cluster: tuple[str, str], stage: str
) -> None:
    owner, superuser = cluster
    ((before,),) = run_sql(
        superuser, "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'public'"
    )
    with changed_database(
        superuser,
        "ALTER SCHEMA public OWNER TO postgres; "
        f"GRANT USAGE, CREATE ON SCHEMA public TO {OWNER}; "
        "REVOKE ALL ON SCHEMA public FROM PUBLIC, todo_app",
        f"REVOKE ALL ON SCHEMA public FROM {OWNER}; GRANT USAGE ON SCHEMA public TO PUBLIC",
        f"ALTER SCHEMA public OWNER TO {before}",
    ):
        with pytest.raises(CommandError) as refused:
            migrate(owner)
        statement = str(refused.value).split("run: ")[1].split(";")[0]
        assert statement == "GRANT USAGE ON SCHEMA public TO todo_app"
        run_sql(superuser, statement)
        assert migrate(owner).startswith("Nothing to do")
        assert run_sql(created(owner, stage), "SELECT 1") == [(1,)]
