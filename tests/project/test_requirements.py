"""The lock files contain the requirements of pyproject.toml, and pin and hash every package."""

import re
import tomllib

from dev import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOR_LAMBDA: list[str] = PROJECT["project"]["dependencies"]
GROUPS = {
    # The other entries include another group.
    name: [entry for entry in entries if isinstance(entry, str)]
    for name, entries in PROJECT["dependency-groups"].items()
}
FOR_DEVELOPMENT = [entry for entries in GROUPS.values() for entry in entries]


def _locked(name: str) -> dict[str, list[str]]:
    """Return the entries of a lock file, `package==version` with its markers, and their hashes."""
    text = (ROOT / name).read_text().replace("\\\n", "")
    lines = [
        line.split("--hash=") for line in text.splitlines() if not line.lstrip().startswith("#")
    ]
    return {entry.strip(): [value.strip() for value in hashes] for entry, *hashes in lines}


def _pin(entry: str) -> str:
    """Return `package==version` without extras and markers."""
    return re.sub(r"\[.*?\]", "", entry.split(";")[0]).strip()


LAMBDA = _locked("requirements.txt")
UV, RUN, DEVELOPMENT = (_locked(f"dev/requirements-{group}.txt") for group in ("uv", "run", "dev"))


def test_every_package_is_pinned_and_hashed() -> None:
    for entry, hashes in [*LAMBDA.items(), *UV.items(), *RUN.items(), *DEVELOPMENT.items()]:
        assert re.fullmatch(r"[a-z0-9-]+==[^ ;]+( ; .+)?", entry)
        assert hashes, entry
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in hashes), entry


def test_lock_files_contain_the_requirements_of_pyproject() -> None:
    """After a change of pyproject.toml, run `make lock`."""
    assert {_pin(entry) for entry in FOR_LAMBDA} <= {_pin(entry) for entry in LAMBDA}
    assert {_pin(entry) for entry in GROUPS["uv"]} == {_pin(entry) for entry in UV}
    assert {_pin(entry) for entry in FOR_LAMBDA + GROUPS["uv"] + GROUPS["run"]} <= {
        _pin(entry) for entry in RUN
    }
    assert {_pin(entry) for entry in FOR_LAMBDA + FOR_DEVELOPMENT} <= {
        _pin(entry) for entry in DEVELOPMENT
    }


def test_each_lock_file_contains_the_one_before() -> None:
    """The tests run on the versions that are deployed."""
    assert LAMBDA.items() <= RUN.items() <= DEVELOPMENT.items()
    assert UV.items() <= RUN.items()


def test_lambda_requirements_have_no_markers_and_no_development_packages() -> None:
    """The installer would evaluate markers for the build machine.

    Lambda's runtime has boto3 and botocore itself.
    """
    assert [entry for entry in LAMBDA if ";" in entry] == []
    development = {_pin(entry).split("==")[0] for entry in FOR_DEVELOPMENT}
    assert not {entry.split("==")[0] for entry in LAMBDA} & {*development, "boto3", "botocore"}


def test_lock_file_of_npm_contains_no_registry_urls() -> None:
    """With URLs, npm would ignore the registry that the machine is configured for.

    `npm install` may add them.
    """
    assert '"resolved"' not in (ROOT / "package-lock.json").read_text()
