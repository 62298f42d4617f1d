"""`npx serverless deploy` against a fake AWS and a real database: the order of its steps, and what stops it."""

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
    """A copy of the project to deploy."""
    return Project(tmp_path)


def has_todos(uri: str) -> Callable[[], object]:
    """Return a function that checks for the table of todos."""
    return lambda: run_sql(uri, "SELECT to_regclass('todos') IS NOT NULL")[0][0]


def failed_deploy(project: Project, aws: Aws, *options: str) -> str:
    """Run a deploy that fails before it writes to AWS, and return its output on one line."""
    with aws:
        outcome = project.run("deploy", *options, AWS_ENDPOINT_URL=aws.url)
    assert (outcome.returncode, aws.writes) == (1, [])
    return " ".join((outcome.stdout + outcome.stderr).split())


def test_deploy_migrates_before_it_writes_to_aws_and_keeps_the_url_secret(
    project: Project, new_database: Callable[[], str]
) -> None:
    uri = new_database()
    with Aws({PARAMETER: uri}, observe=has_todos(uri)) as aws:
        outcome = project.run("deploy", AWS_ENDPOINT_URL=aws.url)
    assert outcome.returncode == 0, outcome.stderr
    assert "Service deployed to stack todo-api-dev" in outcome.stderr
    (read,) = [call for call in aws.calls if call.service == "ssm"]
    assert (str(read), read.parameters) == ("ssm:GetParameter", {"Name": PARAMETER, "WithDecryption": True})
    after_read = aws.calls.index(read) + 1
    assert {call.observed for call in aws.calls[:after_read]} == {False}
    assert {call.observed for call in aws.calls[after_read:]} == {True}
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
    files = [path.read_bytes() for path in project.folder.rglob("*") if path.is_file()]
    written = [call.body for call in aws.calls] + files
    for secret in (uri, parse_dsn(uri)["dbname"]):
        assert not any(secret.encode() in content for content in written)
        assert secret not in outcome.stdout + outcome.stderr


def test_prod_deploy_protects_and_tags_the_stack_and_deletes_old_versions(project: Project) -> None:
    with Aws() as aws:
        options = ("--stage", "prod", "--param", "identity-source=authorizer", "--param", "migrate=false")
        outcome = project.run("deploy", *options, AWS_ENDPOINT_URL=aws.url)
    assert outcome.returncode == 0, outcome.stderr
    calls = {str(call): call.parameters for call in aws.calls}
    assert calls["cloudformation:UpdateTerminationProtection"]["EnableTerminationProtection"] == "true"
    pruned = [call.parameters for call in aws.calls if call.action == "DeleteFunction"]
    path = "/2015-03-31/functions/prod-todo-api"  # the fake has versions 1 to 4, and uses 4
    assert pruned == [{"path": path, "query": "Qualifier=2"}, {"path": path, "query": "Qualifier=1"}]
    changes = calls["cloudformation:CreateChangeSet"]
    tags = {changes[f"Tags.member.{number}.Key"]: changes[f"Tags.member.{number}.Value"] for number in (1, 2)}
    assert tags == {"service": "todo-api", "stage": "prod"}


@pytest.mark.parametrize("stack_exists", [True, False], ids=["the next deploy", "the first deploy"])
def test_failed_migration_stops_the_deploy_and_changes_nothing(
    project: Project, new_database: Callable[[], str], *, stack_exists: bool
) -> None:
    uri = new_database()
    run_sql(uri, "CREATE TABLE todos (other text)")
    output = failed_deploy(project, Aws({PARAMETER: uri}, stack_exists=stack_exists))
    assert "The migration failed, and nothing is deployed" in output
    assert (
        'The migration from revision base to 0001 failed, and the database is at revision base: relation "todos"'
        in output
    )
    assert "Traceback" not in output
    assert uri not in output
    assert run_sql(uri, "SELECT to_regclass('users') IS NULL") == [(True,)]


def test_unreachable_database_stops_the_deploy_without_showing_the_password(project: Project) -> None:
    output = failed_deploy(project, Aws({PARAMETER: "postgresql://owner:s3cr3t@127.0.0.1:1/neondb"}))
    assert "Connection refused" in output
    assert "s3cr3t" not in output


def test_migrate_false_skips_the_migration_of_a_package_built_without_it(
    project: Project, new_database: Callable[[], str]
) -> None:
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
def test_wrong_options_stop_the_deploy_with_a_reason(project: Project, options: list[str], reason: str) -> None:
    output = failed_deploy(project, Aws(), *options)
    assert reason in output


def test_misspelt_key_in_serverless_yml_stops_the_deploy(project: Project) -> None:
    path = project.folder / "serverless.yml"
    path.write_text(path.read_text().replace("memorySize:", "memorySizes:"))
    output = failed_deploy(project, Aws())
    assert "unrecognized property 'memorySizes'" in output


def test_failed_build_stops_the_deploy_with_the_message_of_the_build(tmp_path: Path) -> None:
    project = Project(tmp_path, build='raise SystemExit("There is no wheel of it for this architecture.")')
    output = failed_deploy(project, Aws())
    assert "The zip was not built: There is no wheel of it for this architecture." in output
