"""`npx serverless deploy` and the function's own login.

Its parameter, the order of steps, and no secret shown.
"""

import json
import re
import time
from subprocess import CompletedProcess

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from dev.lab.sql import run_sql
from tests.support.aws.fake_aws import Aws, Call
from tests.support.aws.serverless import KEY, Project
from tests.support.postgres.logins import created

pytestmark = [pytest.mark.node, pytest.mark.slow]

OWNER = "/todo-api/dev/neon-database-url"
RUNTIME = "/todo-api/dev/neon-database-url-runtime"


@pytest.fixture
def login(migrated: str) -> str:
    """The URI of a login that an earlier deploy has made."""
    return created(migrated, "dev")


def deploy(project: Project, aws: Aws, *options: str) -> CompletedProcess[str]:
    """Deploy, with every line that the framework can log."""
    return project.deploy(aws, "--verbose", *options, SLS_DEBUG="*", SLS_LOG_LEVEL="debug")


def test_rotating_deploy_writes_a_new_login_before_the_stack_and_shows_it_nowhere(
    project: Project, migrated: str, login: str
) -> None:
    aws = Aws({OWNER: migrated, RUNTIME: login})
    outcome = deploy(project, aws, "--param", "rotate=true")
    assert outcome.returncode == 0, outcome.stderr
    new = aws.parameters[RUNTIME]
    assert parse_dsn(new)["user"] != parse_dsn(login)["user"]
    assert run_sql(new, "SELECT rolsuper FROM pg_roles WHERE rolname = session_user") == [(False,)]
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(login)
    assert aws.parameters[OWNER] == migrated
    assert aws.writes[0] == "ssm:PutParameter"
    (put,) = [call for call in aws.calls if call.action == "PutParameter"]
    assert put.parameters == {
        "Name": RUNTIME,
        "Value": new,
        "Type": "SecureString",
        "Overwrite": True,
    }
    function = project.resources["ApiLambdaFunction"]["Properties"]
    assert function["Environment"]["Variables"]["NEON_DATABASE_URL_PARAMETER"] == RUNTIME
    files = [path.read_bytes() for path in project.folder.rglob("*") if path.is_file()]
    shown = [
        outcome.stdout.encode(),
        outcome.stderr.encode(),
        *files,
        *(call.body for call in aws.calls if call != put),
    ]
    for url in (new, login, migrated):
        for secret in (url, parse_dsn(url)["password"]):
            assert not any(secret.encode() in content for content in shown)


def test_deploy_keeps_a_login_that_works(project: Project, migrated: str, login: str) -> None:
    aws = Aws({OWNER: migrated, RUNTIME: login})
    outcome = deploy(project, aws)
    assert outcome.returncode == 0, outcome.stderr
    assert aws.parameters == {OWNER: migrated, RUNTIME: login}
    assert "ssm:PutParameter" not in aws.writes
    assert "cloudformation:ExecuteChangeSet" in aws.writes


def test_owner_without_createrole_stops_the_deploy_with_the_sql_and_the_parameter(
    project: Project, postgres_owner: str
) -> None:
    aws = Aws({OWNER: postgres_owner})
    outcome = deploy(project, aws)
    assert (outcome.returncode, aws.writes) == (1, [])
    output = " ".join((outcome.stdout + outcome.stderr).split())
    failed = f"The step for the login in the parameter {RUNTIME} failed, and nothing is deployed"
    assert failed in output
    create_login = (
        r'CREATE ROLE "todo_app_dev_\w{8}" LOGIN NOINHERIT IN ROLE "todo_app" PASSWORD \'…\''
    )
    assert re.search(f"run: {create_login}; COMMENT ON ROLE", output)
    assert "Traceback" not in output
    assert parse_dsn(postgres_owner)["password"] not in output


@pytest.fixture
def postgres_owner(migrated: str) -> str:
    """The URI of a login that owns the tables, and may not create roles."""
    name = parse_dsn(migrated)["dbname"] + "_owner"
    tables = [
        f"ALTER TABLE {table} OWNER TO {name}" for table in ("users", "todos", "alembic_version")
    ]
    run_sql(migrated, f"CREATE ROLE {name} LOGIN PASSWORD 'of-the-test' IN ROLE todo_app", *tables)
    run_sql(migrated, f"GRANT ALL ON SCHEMA public TO {name}")
    return migrated.replace(f"postgres:{parse_dsn(migrated)['password']}", f"{name}:of-the-test")


class ReadOnlyAws(Aws):
    """A fake AWS whose parameters may only be read."""

    def result(self, call: Call) -> tuple[int, str]:
        """Return status and body of the response."""
        if call.action == "PutParameter":
            return 400, json.dumps(
                {"__type": "AccessDeniedException", "message": str(call.parameters)}
            )
        return super().result(call)


def test_parameter_that_cannot_be_written_stops_the_deploy_and_the_old_login_works_on(
    project: Project, migrated: str, login: str
) -> None:
    aws = ReadOnlyAws({OWNER: migrated, RUNTIME: login})
    outcome = deploy(project, aws, "--param", "rotate=true", "--param", f"database-url-key={KEY}")
    assert (outcome.returncode, aws.writes) == (1, ["ssm:PutParameter"])
    output = " ".join((outcome.stdout + outcome.stderr).split())
    not_written = f"The parameter {RUNTIME} cannot be written (AccessDeniedException)"
    assert f"{not_written}, and nothing is deployed." in output
    (put,) = [call for call in aws.calls if call.action == "PutParameter"]
    assert put.parameters["KeyId"] == KEY
    assert parse_dsn(str(put.parameters["Value"]))["password"] not in output
    assert run_sql(login, "SELECT 1") == [(1,)]


class SilentAws(Aws):
    """A fake AWS that does not answer when a parameter is written."""

    def result(self, call: Call) -> tuple[int, str]:
        """Return status and body of the response."""
        if call.action == "PutParameter":
            time.sleep(60)
        return super().result(call)


def test_parameter_store_that_does_not_answer_stops_the_deploy_and_the_old_login_works_on(
    project: Project, migrated: str, login: str
) -> None:
    aws = SilentAws({OWNER: migrated, RUNTIME: login})
    outcome = deploy(project, aws, "--param", "rotate=true")
    assert (outcome.returncode, set(aws.writes)) == (1, {"ssm:PutParameter"})
    output = " ".join((outcome.stdout + outcome.stderr).split())
    assert f"The parameter {RUNTIME} cannot be written (no answer for 10 s)" in output
    assert run_sql(login, "SELECT 1") == [(1,)]
