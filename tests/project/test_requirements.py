"""What is installed is what pyproject.toml asks for, pinned and hashed to the last package."""

import re
import tomllib

from tests.support.machine import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOR_LAMBDA: list[str] = PROJECT["project"]["dependencies"]
FOR_DEVELOPMENT: list[str] = PROJECT["dependency-groups"]["dev"]


def _locked(name: str) -> dict[str, list[str]]:
    """The entries of a lock file: each `package==version`, markers included, and its hashes."""
    text = (ROOT / name).read_text().replace("\\\n", "")
    lines = [line.split("--hash=") for line in text.splitlines() if not line.lstrip().startswith("#")]
    return {entry.strip(): [value.strip() for value in hashes] for entry, *hashes in lines}


def _pin(entry: str) -> str:
    """`package==version` of a requirement, without extras and markers."""
    return re.sub(r"\[.*?\]", "", entry.split(";")[0]).strip()


LAMBDA, DEVELOPMENT = _locked("requirements.txt"), _locked("requirements-dev.txt")


def test_every_package_is_pinned_and_hashed() -> None:
    """Proves that a lock file names exact versions with SHA-256 only: no range, no URL, no other file, no index."""
    for entry, hashes in [*LAMBDA.items(), *DEVELOPMENT.items()]:
        assert re.fullmatch(r"[a-z0-9-]+==[^ ;]+( ; .+)?", entry)
        assert hashes, entry
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in hashes), entry


def test_the_lock_files_hold_what_pyproject_asks_for() -> None:
    """Proves that each direct pin is locked in its version: who changes one has to run `make lock`."""
    assert {_pin(entry) for entry in FOR_LAMBDA} <= {_pin(entry) for entry in LAMBDA}
    assert {_pin(entry) for entry in FOR_LAMBDA + FOR_DEVELOPMENT} <= {_pin(entry) for entry in DEVELOPMENT}


def test_development_has_what_lambda_has() -> None:
    """Proves that the tests run on the very versions that are deployed."""
    assert LAMBDA.items() <= DEVELOPMENT.items()


def test_nothing_for_development_goes_to_lambda() -> None:
    """Proves that requirements.txt has none of its packages, and nothing that Lambda's runtime brings."""
    names = {entry.split("==")[0] for entry in LAMBDA}
    assert not names & {_pin(entry).split("==")[0] for entry in FOR_DEVELOPMENT}
    assert not names & {"boto3", "botocore"}


def test_what_lambda_needs_does_not_depend_on_who_builds() -> None:
    """Proves that requirements.txt has no markers: pip judges them by the machine that it runs on."""
    assert [entry for entry in LAMBDA if ";" in entry] == []
