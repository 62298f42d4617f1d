"""deploy/build.py: the zip is reproducible and complete, and a wrong one fails the build."""

import os
import re
import shutil
from pathlib import Path

import pytest

from deploy import build
from deploy.build import BuildError, Target
from dev import ROOT
from tests.support.aws.zip import ARCHITECTURE, LAMBDA_PYTHON, TARGET, build_zip, run_build

pytestmark = pytest.mark.slow


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Another checkout of what the build reads, with other file times."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "todo_api", folder / "todo_api")
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    for name in ("handler.py", "requirements.txt"):
        shutil.copyfile(ROOT / name, folder / name)
    os.utime(folder / "handler.py", (0, 0))
    return folder


@pytest.fixture
def unzipped_copy(task: Path, tmp_path: Path) -> Path:
    """A copy of the unzipped files that a test may change."""
    return Path(shutil.copytree(task, tmp_path / "copy", copy_function=os.link))


# --- the build ------------------------------------------------------------------------------------


def test_same_input_gives_the_same_bytes(archive: Path, checkout: Path, tmp_path: Path) -> None:
    """The second build has another README, temporary folder and hash seed, and pip, not uv."""
    (checkout / "README.md").write_text("<!-- not deployed -->\n")
    if LAMBDA_PYTHON:
        (tmp_path / f"python{build.PYTHON}").symlink_to(LAMBDA_PYTHON)
    again = build_zip(
        tmp_path / "again.zip",
        checkout,
        PATH=str(tmp_path),
        TMPDIR=str(tmp_path),
        PYTHONHASHSEED="7",
    )
    assert again.read_bytes() == archive.read_bytes()


def test_zip_contains_our_code_the_locked_packages_and_bytecode_and_nothing_else(
    task: Path,
) -> None:
    locked = re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    packages = [path.name.partition("-")[0].replace("_", "-") for path in task.glob("*.dist-info")]
    assert sorted(packages) == sorted(locked)
    assert not {"boto3", "botocore", "migrations", "tests", "dev", "deploy", "bin"} & {
        p.name for p in task.iterdir()
    }
    ours = [ROOT / "handler.py", *(ROOT / "todo_api").rglob("*.py")]
    unpacked = [
        path for path in (task / "todo_api").rglob("*") if path.is_file() and path.suffix != ".pyc"
    ]
    assert {path.relative_to(task) for path in unpacked} == {
        path.relative_to(ROOT) for path in ours[1:]
    }
    for path in ours:
        assert (task / path.relative_to(ROOT)).read_bytes() == path.read_bytes()
    compiled = {
        path.parent.parent / f"{path.name.split('.')[0]}.py" for path in task.rglob("*.pyc")
    }
    assert compiled == set(task.rglob("*.py"))


def test_build_without_the_targets_python_warns_and_skips_the_bytecode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "interpreter", lambda _: None)
    (tmp_path / "module.py").touch()
    build.compile_all(tmp_path, Target())
    assert list(tmp_path.iterdir()) == [tmp_path / "module.py"]
    assert capsys.readouterr().err == (
        "Warning: there is no Python 3.13 here, so the zip holds no bytecode, "
        "and the function takes 3 to 4 times as long to start. "
        "To get one: uv python install 3.13\n"
    )


# --- what fails the build -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (".env", "A=1", ".env is named like a secret: move it out of todo_api."),
        ("server.key", "A=1", "server.key is named like a secret: move it out of todo_api."),
        (
            "ca.pem",
            "-----BEGIN RSA PRIVATE KEY-----",
            "ca.pem has something like a secret in line 2",
        ),
        (
            "more.py",
            "URL = 'postgresql://me:s3cr3t@ep-x/db'",
            "more.py has something like a secret in line 2",
        ),
        (
            "more.py",
            "KEY = 'AKIAIOSFODNN7EXAMPLE'",
            "more.py has something like a secret in line 2",
        ),
        (
            "more.py",
            "PASSWORD = 'npg_Ab1Cd2Ef3Gh4'",
            "more.py has something like a secret in line 2",
        ),
    ],
)
def test_secret_in_our_code_fails_the_build_and_is_not_printed(
    checkout: Path, name: str, content: str, message: str
) -> None:
    (checkout / "todo_api" / name).write_text(f"\n{content}\n")
    outcome = run_build(checkout / "todo-api.zip", checkout)
    assert (outcome.returncode, outcome.stdout, outcome.stderr.count("\n")) == (1, "", 1)
    assert outcome.stderr.startswith(f"todo_api/{message}")
    assert content not in outcome.stderr
    assert not (checkout / "todo-api.zip").exists()


def test_wheel_with_another_hash_than_the_lock_files_fails_the_build(checkout: Path) -> None:
    lock = checkout / "requirements.txt"
    lock.write_text(re.sub(r"sha256:[0-9a-f]{4}", "sha256:0000", lock.read_text()))
    outcome = run_build(checkout / "todo-api.zip", checkout)
    assert outcome.returncode == 1
    assert outcome.stderr.endswith(
        "Not every wheel of requirements.txt could be fetched, see above. It takes uv or pip.\n"
    )


def test_wheel_or_library_of_another_architecture_fails_the_build(
    task: Path, unzipped_copy: Path
) -> None:
    other = Target({"arm64": "x86_64", "x86_64": "arm64"}[ARCHITECTURE], TARGET.python)
    with pytest.raises(
        BuildError,
        match=rf"^The wheel [a-z0-9_.-]+ is not made for Python .+ on {other.architecture}\.$",
    ):
        build.refuse_other_platforms(task, other)
    library = next(unzipped_copy.glob("psycopg2_binary.libs/libpq*"))
    content = bytearray(library.read_bytes())
    library.unlink()  # a hard link to the original
    content[18] = build.MACHINES[other.architecture][1]
    library.write_bytes(content)
    with pytest.raises(
        BuildError, match=r"^psycopg2_binary\.libs/libpq.+, but for another processor or system\.$"
    ):
        build.refuse_other_platforms(unzipped_copy, TARGET)


def test_wheel_or_extension_of_another_python_fails_the_build(
    task: Path, unzipped_copy: Path
) -> None:
    with pytest.raises(
        BuildError, match=r"^The wheel [a-z0-9_.-]+ is not made for Python 3\.9 on "
    ):
        build.refuse_other_platforms(task, Target(ARCHITECTURE, "3.9"))
    extension = next(unzipped_copy.glob("sqlalchemy/util/*.so"))
    extension.rename(extension.with_name(extension.name.replace(f"-{TARGET.tag}-", "-39-")))
    with pytest.raises(BuildError, match=r"^sqlalchemy/util/.+, but for another Python\.$"):
        build.refuse_other_platforms(unzipped_copy, TARGET)


def test_missing_extension_of_psycopg2_fails_the_build(unzipped_copy: Path) -> None:
    build.refuse_other_platforms(unzipped_copy, TARGET)
    next(unzipped_copy.glob("psycopg2/_psycopg.*.so")).unlink()
    with pytest.raises(BuildError, match=r"^psycopg2/_psycopg\..+ is missing"):
        build.refuse_other_platforms(unzipped_copy, TARGET)


@pytest.mark.parametrize(
    ("content", "sizes"),
    [
        (os.urandom(25_100_000), "25.1 MB zipped (at most 25), 25.1 MB unzipped (at most 80)"),
        (bytes(80_100_000), "0.1 MB zipped (at most 25), 80.1 MB unzipped (at most 80)"),
    ],
    ids=["zipped", "unzipped"],
)
def test_too_large_zip_fails_the_build_and_keeps_the_previous_zip(
    tmp_path: Path, content: bytes, sizes: str
) -> None:
    folder = tmp_path / "folder"
    output = tmp_path / "todo-api.zip"
    output.write_bytes(b"before")
    folder.mkdir()
    (folder / "large").write_bytes(content)
    with pytest.raises(BuildError, match=re.escape(sizes)):
        build.write(folder, output)
    assert set(tmp_path.iterdir()) == {folder, output}
    assert output.read_bytes() == b"before"
