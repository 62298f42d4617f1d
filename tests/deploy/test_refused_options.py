"""Options of `serverless` that would deploy what was not meant, or a function that cannot start."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dev import ROOT
from tests.support.aws.fake_aws import Aws
from tests.support.aws.serverless import Project

pytestmark = [pytest.mark.node, pytest.mark.slow]

ORIGINS = (
    "The function would not start with these settings: "
    "The environment variable CORS_ORIGINS is not usable: "
    "must list origins such as https://app.example, separated by commas."
)
PARAMETER_NAME = (
    'The parameter database-url-parameter must be the name of a parameter, which begins with "/".'
)
UNKNOWN = "serverless.yml lists them below params."
PACKAGE = "The package is for the stage dev in eu-central-1, and this deploys"
EMPTY = "has no value: leave it out, or set it below params in serverless.yml."


def refusal(output: str) -> str:
    """Return the sentence of a refusal from the output, without what the framework adds."""
    found = re.search(r"Error: (.*?) (Environment:|(Packaging|Deploying|Stack) )", output)
    assert found, output
    return found[1]


@pytest.mark.parametrize(
    ("parameter", "sentence"),
    [
        ("cors-origins=https://app.example/", ORIGINS),
        ("cors-origins=", f"The parameter cors-origins {EMPTY}"),
        (
            "alram-topic=arn:aws:sns:eu-central-1:1:a",
            f'There is no parameter "alram-topic": {UNKNOWN}',
        ),
    ],
)
def test_option_that_would_deploy_but_not_work_is_refused_in_one_sentence(
    project: Project, parameter: str, sentence: str
) -> None:
    output = project.failed_deploy(Aws(), "--param", parameter)

    assert refusal(output) == sentence
    assert not (project.folder / ".serverless").exists()


def test_each_option_of_a_wrong_form_is_refused_without_its_value(project: Project) -> None:
    wrong = {
        "database-url-parameter": "postgresql://owner:s3cr3t@ep-a.neon.tech/neondb",
        "database-url-key": "alias/todo",
        "alarm-topic": "alarms",
        "permissions-boundary": "arn:aws:iam::123456789012:role/somebody",
        "requests-per-second": "0",
        "burst": "many",
        "reserved-concurrency": "0",
    }
    options = [f"--param={name}={value}" for name, value in wrong.items()]

    output = project.failed_deploy(Aws(), *options)

    assert refusal(output) == (
        f"{PARAMETER_NAME} "
        "The parameter database-url-key must be the ARN of a key. "
        "The parameter alarm-topic must be the ARN of an SNS topic. "
        "The parameter permissions-boundary must be the ARN of a policy. "
        "The parameter requests-per-second must be a whole number above 0. "
        "The parameter burst must be a whole number above 0. "
        "The parameter reserved-concurrency must be a whole number above 0: "
        "with 0 the function answers nothing."
    )
    assert not (project.folder / ".serverless").exists()


def test_each_form_is_compared_with_the_parameter_of_the_same_name() -> None:
    custom = yaml.safe_load((ROOT / "serverless.yml").read_text())["custom"]
    assert [name for name, value in custom.items() if f"${{param:{name}" not in value] == []


def test_a_setting_in_the_file_is_checked_as_one_on_the_command_line(project: Project) -> None:
    path = project.folder / "serverless.yml"
    path.write_text(path.read_text().replace("reserved-concurrency: 50", "reserved-concurrency: 0"))

    output = project.failed_deploy(
        Aws(), "--stage", "prod", "--param", "identity-source=authorizer"
    )

    assert "The parameter reserved-concurrency must be a whole number above 0" in output


def test_any_variable_that_the_function_would_refuse_is_refused(project: Project) -> None:
    path = project.folder / "serverless.yml"
    path.write_text(
        path.read_text().replace("    RES_OPTIONS:", "    LOG_LEVEL: LOUD\n    RES_OPTIONS:")
    )

    output = project.failed_deploy(Aws())

    assert "The environment variable LOG_LEVEL is not usable" in output


def test_package_for_something_else_is_not_deployed(project: Project) -> None:
    project.run("package", "--package", "packaged")

    def refused(*options: str) -> str:
        return refusal(project.failed_deploy(Aws(), "--package", "packaged", *options))

    assert refused("--stage", "prod") == f"{PACKAGE} prod in eu-central-1."
    assert refused("--region", "eu-west-1") == f"{PACKAGE} dev in eu-west-1."
    assert refused("--param", "burst=5") == (
        "The parameter burst changes nothing in a package: give it to `serverless package`."
    )


def test_package_without_a_python_for_the_check_says_what_is_missing(project: Project) -> None:
    shutil.rmtree(project.folder / ".venv")

    outcome = project.run("package")

    assert outcome.returncode == 1
    assert refusal(" ".join((outcome.stdout + outcome.stderr).split())) == (
        "The settings cannot be checked, because .venv/bin/python is missing: "
        "`make .venv/serving` installs it."
    )
    assert not (project.folder / ".serverless").exists()


def test_deploy_without_a_python_for_the_check_installs_it(
    project: Project, new_database: Callable[[], str], tmp_path: Path
) -> None:
    (project.folder / ".venv").rename(tmp_path / "installed")
    makefile = project.folder / "Makefile"
    install = f"\n\t@mv {tmp_path}/installed .venv && touch .venv/serving\n"
    makefile.write_text(
        f"serving := .venv/serving\n$(serving):{install}"
        "migrate: $(serving)\n\t.venv/bin/python -m migrations\n"
    )
    aws = Aws({"/todo-api/dev/neon-database-url": new_database()})

    outcome = project.deploy(aws)

    assert outcome.returncode == 0, outcome.stderr
    started = (project.folder / ".venv/started").read_text()
    assert started.startswith("-m deploy.check_settings\n-m migrations\n")
