"""What `npx serverless deploy` does, in which order, and what stops it: on a stand-in for AWS and a real database."""

from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg2.extensions import parse_dsn

from tests.support.aws import Aws
from tests.support.serverless import Project
from tests.support.sql import run_sql

pytestmark = pytest.mark.node

PARAMETER = "/todo-api/dev/neon-database-url"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A copy of the project, to deploy."""
    return Project(tmp_path)


def has_todos(uri: str) -> Callable[[], object]:
    """Tells whether there is a table of todos at this moment."""
    return lambda: run_sql(uri, "SELECT to_regclass('todos') IS NOT NULL")[0][0]


def test_the_database_is_migrated_before_anything_is_written_to_aws(
    project: Project, new_database: Callable[[], str]
) -> None:
    """The order of a deploy, and that the connection string goes from Parameter Store to the migrations only."""
    uri = new_database()
    with Aws({PARAMETER: uri}, witness=has_todos(uri)) as aws:
        outcome = project.run("deploy", AWS_ENDPOINT_URL=aws.url)
    assert outcome.returncode == 0, outcome.stderr
    assert "Service deployed to stack todo-api-dev" in outcome.stderr
    (read,) = [call for call in aws.calls if call.service == "ssm"]
    assert (str(read), read.parameters) == ("ssm:GetParameter", {"Name": PARAMETER, "WithDecryption": True})
    assert {call.at_the_time for call in aws.calls[: aws.calls.index(read) + 1]} == {False}
    assert {call.at_the_time for call in aws.calls[aws.calls.index(read) + 1 :]} == {True}
    assert aws.writes == [
        *["s3:PutObject"] * 3,
        "cloudformation:DeleteChangeSet",
        "cloudformation:CreateChangeSet",
        "cloudformation:ExecuteChangeSet",
        "cloudformation:UpdateTerminationProtection",
        *["lambda:DeleteFunction"] * 2,
    ]
    assert aws.calls.index(read) < min(aws.calls.index(call) for call in aws.calls if str(call) in aws.writes)
    assert (project.folder / ".venv" / "started").read_text() == "-m migrations\n"
    written = [call.body for call in aws.calls] + [
        path.read_bytes() for path in project.folder.rglob("*") if path.is_file()
    ]
    for secret in (uri, parse_dsn(uri)["dbname"]):
        assert not any(secret.encode() in content for content in written)
        assert secret not in outcome.stdout + outcome.stderr


def test_prod_is_protected_and_keeps_one_version_besides_the_one_in_use(project: Project) -> None:
    """What only prod's deploy asks for, and that everything that the stack makes is tagged."""
    with Aws() as aws:
        options = ("--stage", "prod", "--param", "identity-source=authorizer", "--param", "migrate=false")
        outcome = project.run("deploy", *options, AWS_ENDPOINT_URL=aws.url)
    assert outcome.returncode == 0, outcome.stderr
    calls = {str(call): call.parameters for call in aws.calls}
    assert calls["cloudformation:UpdateTerminationProtection"]["EnableTerminationProtection"] == "true"
    pruned = [call.parameters for call in aws.calls if call.action == "DeleteFunction"]
    path = "/2015-03-31/functions/prod-todo-api"  # of whose versions 1 to 4 the stand-in says that 4 is in use
    assert pruned == [{"path": path, "query": "Qualifier=2"}, {"path": path, "query": "Qualifier=1"}]
    changes = calls["cloudformation:CreateChangeSet"]
    tags = {changes[f"Tags.member.{number}.Key"]: changes[f"Tags.member.{number}.Value"] for number in (1, 2)}
    assert tags == {"service": "todo-api", "stage": "prod"}


@pytest.mark.parametrize("stack_exists", [True, False], ids=["the next deploy", "the first deploy"])
def test_a_failing_migration_leaves_everything_as_it_was(
    project: Project, new_database: Callable[[], str], *, stack_exists: bool
) -> None:
    """Nothing is written to AWS then, so that the old version serves on, and that the reason is told."""
    uri = new_database()
    run_sql(uri, "CREATE TABLE todos (mine text)")
    with Aws({PARAMETER: uri}, stack_exists=stack_exists) as aws:
        outcome = project.run("deploy", AWS_ENDPOINT_URL=aws.url)
    assert (outcome.returncode, aws.writes) == (1, [])
    told = outcome.stdout + outcome.stderr
    assert "The database was not migrated, and nothing is deployed" in told
    assert 'The migration failed, and the database is unchanged: relation "todos" already exists' in told
    assert "Traceback" not in told
    assert uri not in told
    assert run_sql(uri, "SELECT to_regclass('users') IS NULL") == [(True,)]


def test_a_database_that_cannot_be_reached_stops_the_deploy(project: Project) -> None:
    """The same for a connection string that leads nowhere, without telling the password."""
    with Aws({PARAMETER: "postgresql://owner:never-told@127.0.0.1:1/neondb"}) as aws:
        outcome = project.run("deploy", AWS_ENDPOINT_URL=aws.url)
    assert (outcome.returncode, aws.writes) == (1, [])
    assert "Connection refused" in outcome.stdout + outcome.stderr
    assert "never-told" not in outcome.stdout + outcome.stderr


def test_migrating_can_be_left_out(project: Project, new_database: Callable[[], str]) -> None:
    """`--param migrate=false` neither reads the connection string nor touches the database.

    Nor does it with what was packaged before, and without the option.
    """
    uri = new_database()
    project.run("package", "--package", "packaged")
    with Aws({PARAMETER: uri}) as aws:
        outcome = project.run("deploy", "--package", "packaged", "--param", "migrate=false", AWS_ENDPOINT_URL=aws.url)
    assert outcome.returncode == 0, outcome.stderr
    assert "cloudformation:ExecuteChangeSet" in aws.writes
    assert not any(call.service == "ssm" for call in aws.calls)
    assert has_todos(uri)() is False


NO_STAGE = 'There is no stage "production": it is dev, prod or branch-NAME'
NO_IDENTITY = "The stage prod needs an identity source: --param identity-source=authorizer, or "
NO_PARAMETER = f"The parameter {PARAMETER}, which is to hold the database's URL, cannot be read in eu-central-1"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--stage", "production"], NO_STAGE),
        (["--stage", "prod"], NO_IDENTITY),
        (["--param", "architecture=arm"], "must be equal to one of the allowed values [arm64, x86_64]"),
        (["function", "-f", "api"], "`deploy function` would ship code past the migrations"),
        ([], f"{NO_PARAMETER} (ParameterNotFound), and nothing is deployed."),
    ],
    ids=["unknown stage", "prod unnamed", "architecture", "one function", "no parameter in SSM"],
)
def test_what_is_not_meant_is_refused(project: Project, options: list[str], reason: str) -> None:
    """Each mistake is told in a sentence, and that nothing is deployed."""
    with Aws() as aws:
        outcome = project.run("deploy", *options, AWS_ENDPOINT_URL=aws.url)
    assert (outcome.returncode, aws.writes) == (1, [])
    assert reason in " ".join((outcome.stdout + outcome.stderr).split())


def test_a_misspelt_key_is_refused(project: Project) -> None:
    """A mistake in serverless.yml is found before anything happens."""
    path = project.folder / "serverless.yml"
    path.write_text(path.read_text().replace("memorySize:", "memorySizes:"))
    with Aws() as aws:
        outcome = project.run("deploy", AWS_ENDPOINT_URL=aws.url)
    assert (outcome.returncode, aws.writes) == (1, [])
    assert "unrecognized property 'memorySizes'" in outcome.stdout + outcome.stderr


def test_a_zip_that_cannot_be_built_stops_the_deploy(tmp_path: Path) -> None:
    """The build's own sentence is passed on, and that nothing is deployed."""
    project = Project(tmp_path, build='raise SystemExit("There is no wheel of it for this architecture.")')
    with Aws() as aws:
        outcome = project.run("deploy", AWS_ENDPOINT_URL=aws.url)
    assert (outcome.returncode, aws.writes) == (1, [])
    told = " ".join((outcome.stdout + outcome.stderr).split())
    assert "The zip was not built: There is no wheel of it for this architecture." in told
