"""The worked examples of docs/extending still fit the code."""

import sys
from pathlib import Path

import pytest

from dev import ROOT
from tests.support.project.copies import Copy

pytestmark = pytest.mark.slow

PATCHES = ROOT / "docs/extending"
USER_ROWS = (
    "test_an_export_has_each_row_of_the_user_and_no_other",
    "test_erase_deletes_each_row_of_the_user_and_no_other",
    "test_restore_after_erase_gives_the_same_rows",
)
RESOURCE = (
    *("api/test_operations.py", "api/test_lists.py", "api/test_current_user.py"),
    *("contract/test_openapi.py", "contract/test_openapi_responses.py"),
    *("database/test_isolation.py", "database/test_row_level_security.py"),
    *("database/test_statements.py", "database/test_tables.py"),
    *(f"deploy/test_user_rows.py::{name}" for name in USER_ROWS),
)
"""The tests that send each operation of the document, or read each table of the models."""

SKIPPED = (
    "local",  # the other entry point
    "bypassrls",  # another cluster
    "sequence",  # of requests about todos
    "no_option",  # what it finds is also found where only one of the two protections is left
)
"""Words in the names of tests that a copy does not repeat."""


def _apply(copy: Copy, name: str) -> None:
    # An error names the file and the line that no longer fit.
    copy.run("git", "apply", str(PATCHES / name))


def _failures(copy: Copy, *tests: str) -> dict[str, str]:
    """Run files of tests of a copy, or single ones."""
    chosen = f"not ({' or '.join(SKIPPED)})"
    return copy.failures("-k", chosen, *[f"tests/{test}" for test in tests])


def test_a_field_and_an_operation_are_added_by_the_patches(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    _apply(copy, "1-field.patch")
    copy.run(sys.executable, "-m", "dev.revision", "due_at")
    _apply(copy, "2-endpoint.patch")
    copy.write_openapi()
    for check in (["check"], ["format", "--check"]):
        copy.run(sys.executable, "-m", "ruff", *check, ".")
    files = ("api/test_operations.py", "contract/test_openapi.py", "database/test_statements.py")
    assert _failures(copy, *files) == {}


def test_a_resource_is_added_by_the_patch_and_mistakes_in_it_are_found(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    _apply(copy, "3-resource.patch")
    copy.run(sys.executable, "-m", "dev.revision", "lists")
    copy.write_openapi()
    for check in (["check"], ["format", "--check"]):
        copy.run(sys.executable, "-m", "ruff", *check, ".")
    assert _failures(copy, *RESOURCE) == {}

    # A foreign key without its owner.
    (revision,) = (copy.folder / "migrations/versions").glob("*_lists.py")
    key = '["user_id", "list_id"]'
    with_owner = f'{key},\n        ["user_id", "id"]'
    copy.replace(str(revision), with_owner, '["list_id"],\n        ["id"]')
    with_owner = f'{key}, ["lists.user_id", "lists.id"]'
    copy.replace("todo_api/models/tables.py", with_owner, '["list_id"], ["lists.id"]')
    # A response without a model.
    copy.replace("todo_api/api/lists.py", ", response_model=ListPublic", ", response_model=None")
    copy.write_openapi()
    # A create that does not insert the user.
    statement = "rows.insert_row(LISTS, self._user_id, body.model_dump())"
    values = "{'user_id': self._user_id, **body.model_dump()}"
    copy.replace("todo_api/database/lists.py", statement, f"sa.insert(LISTS).values({values})")
    expected = {
        "database/test_tables.py::test_no_foreign_key_refers_to_a_row_of_another_owner": (
            "todos (list_id)"
        ),
        "contract/test_openapi.py::test_every_response_with_a_body_has_a_model": "retrieveList",
        "api/test_lists.py::test_a_list_is_a_users_first_row_and_is_changed_with_its_entity_tag": (
            "503"
        ),
    }
    found = _failures(copy, *expected)
    assert len(found) == len(expected)
    for test, mistake in expected.items():
        assert mistake in found[test.partition("::")[2]]
