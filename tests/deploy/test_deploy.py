"""`npx serverless deploy` against a fake AWS and a real database: its steps, and what stops it."""

from collections.abc import Callable

import pytest
from psycopg2.extensions import parse_dsn

from dev.lab.sql import run_sql
from tests.support.aws.fake_aws import Aws
from tests.support.aws.serverless import BUILD, Project

pytestmark = [pytest.mark.node, pytest.mark.slow]

PARAMETER = "/todo-api/dev/neon-database-url"


def has_todos(uri: str) -> bool:
    """Whether the database has the table of todos."""
    return run_sql(uri, "SELECT to_regclass('todos') IS NOT NULL") == [(True,)]


def test_deploy_of_prod_migrates_before_it_writes_keeps_the_url_secret_and_protects_the_stack(
    project: Project, new_database: Callable[[], str]
) -> None:
    uri = new_database()
    parameter = "/todo-api/prod/neon-database-url"
    aws = Aws({parameter: uri}, observe=lambda: has_todos(uri))
    outcome = project.deploy(aws, "--stage", "prod", "--param", "identity-source=authorizer")
    assert outcome.returncode == 0, outcome.stderr
    assert "Service deployed to stack todo-api-prod" in outcome.stderr

    read = next(call for call in aws.calls if call.service == "ssm")
    assert (str(read), read.parameters) == (
        "ssm:GetParameter",
        {"Name": parameter, "WithDecryption": True},
    )
    after_read = aws.calls.index(read) + 1
    assert {call.observed for call in aws.calls[:after_read]} == {False}
    assert {call.observed for call in aws.calls[after_read:]} == {True}
    assert not {str(call) for call in aws.calls[:after_read]} & set(aws.writes)
    assert aws.writes == [
        "ssm:PutParameter",
        *["s3:PutObject"] * 3,
        "cloudformation:DeleteChangeSet",
        "cloudformation:CreateChangeSet",
        "cloudformation:ExecuteChangeSet",
        "cloudformation:UpdateTerminationProtection",
        *["lambda:DeleteFunction"] * 2,
    ]
    assert (
        (project.folder / ".venv/started")
        .read_text()
        .startswith("-m deploy.check_settings\n-m migrations\n")
    )

    files = [path.read_bytes() for path in project.folder.rglob("*") if path.is_file()]
    files += [call.body for call in aws.calls if call.action != "PutParameter"]
    for secret in (uri, parse_dsn(uri)["dbname"]):
        assert not any(secret.encode() in content for content in files)
        assert secret not in outcome.stdout + outcome.stderr

    calls = {str(call): call.parameters for call in aws.calls}
    assert (
        calls["cloudformation:UpdateTerminationProtection"]["EnableTerminationProtection"] == "true"
    )
    pruned = [call.parameters for call in aws.calls if call.action == "DeleteFunction"]
    path = "/2015-03-31/functions/prod-todo-api"  # the fake has versions 1 to 4, and uses 4
    assert pruned == [
        {"path": path, "query": "Qualifier=2"},
        {"path": path, "query": "Qualifier=1"},
    ]
    changes = calls["cloudformation:CreateChangeSet"]
    tags = {
        changes[f"Tags.member.{number}.Key"]: changes[f"Tags.member.{number}.Value"]
        for number in (1, 2)
    }
    assert tags == {"service": "todo-api", "stage": "prod"}


def test_migrate_false_skips_the_migration_of_a_package_built_without_it(
    project: Project, new_database: Callable[[], str]
) -> None:
    uri = new_database()
    aws = Aws({PARAMETER: uri})
    project.run("package", "--package", "packaged")
    outcome = project.deploy(aws, "--package", "packaged", "--param", "migrate=false")
    assert outcome.returncode == 0, outcome.stderr
    assert "cloudformation:ExecuteChangeSet" in aws.writes
    assert not any(call.service == "ssm" for call in aws.calls)
    assert not has_todos(uri)


def test_failed_migration_stops_the_deploy_and_changes_nothing(
    project: Project, new_database: Callable[[], str]
) -> None:
    uri = new_database()
    run_sql(uri, "CREATE TABLE todos (other text)")
    output = project.failed_deploy(Aws({PARAMETER: uri}))
    assert "The migration failed, and nothing is deployed" in output
    assert (
        "The migration from revision base to 0001 failed, and the database is at revision base: "
        'relation "todos"' in output
    )
    assert "Traceback" not in output
    assert uri not in output
    assert run_sql(uri, "SELECT to_regclass('users') IS NULL") == [(True,)]


def test_unreachable_database_stops_the_first_deploy_without_showing_the_password(
    project: Project,
) -> None:
    aws = Aws({PARAMETER: "postgresql://owner:s3cr3t@127.0.0.1:1/neondb"}, stack_exists=False)
    output = project.failed_deploy(aws)
    assert "The migration failed, and nothing is deployed" in output
    assert "Connection refused" in output
    assert "s3cr3t" not in output


NO_PARAMETER = (
    f"The parameter {PARAMETER}, which is to hold the database's URL, "
    "cannot be read in eu-central-1"
)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            ["--stage", "production"],
            'There is no stage "production": it is dev, prod or branch-NAME',
        ),
        (
            ["--stage", "prod"],
            "The stage prod needs an identity source: --param identity-source=authorizer, or ",
        ),
        (
            ["--param", "architecture=arm"],
            "must be equal to one of the allowed values [arm64, x86_64]",
        ),
        (["function", "-f", "api"], "`deploy function` would ship code past the migrations"),
        ([], f"{NO_PARAMETER} (ParameterNotFound), and nothing is deployed."),
    ],
    ids=["unknown stage", "prod unnamed", "architecture", "one function", "no parameter in SSM"],
)
def test_wrong_options_stop_the_deploy_with_a_reason(
    project: Project, options: list[str], reason: str
) -> None:
    assert reason in project.failed_deploy(Aws(), *options)


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("serverless.yml", "memorySize:", "memorySizes:", "unrecognized property 'memorySizes'"),
        (
            "deploy/build.py",
            BUILD,
            'raise SystemExit("No such wheel.")',
            "The zip was not built: No such wheel.",
        ),
    ],
    ids=["misspelt key", "failed build"],
)
def test_misspelt_key_or_failed_build_stops_the_deploy_with_a_reason(
    project: Project, file: str, old: str, new: str, reason: str
) -> None:
    path = project.folder / file
    path.write_text(path.read_text().replace(old, new))
    assert reason in project.failed_deploy(Aws())
