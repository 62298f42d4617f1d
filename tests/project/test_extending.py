"""The worked examples of docs/extending still fit the code."""

import sys
from pathlib import Path

import pytest

from dev import ROOT
from tests.support.project.copies import Copy

pytestmark = pytest.mark.slow

PATCHES = ROOT / "docs/extending"
ISOLATION = ("database/test_row_level_security", "database/test_statements")
LISTS = (
    *("api/test_lists", "api/test_current_user"),
    *("contract/test_openapi", "contract/test_openapi_responses"),
    *("database/test_isolation", "database/test_tables", *ISOLATION),
    "deploy/test_user_rows",
)


def _apply(copy: Copy, name: str) -> None:
    # An error names the file and the line that no longer fit.
    copy.run("git", "apply", str(PATCHES / name))


def _failures(copy: Copy, *files: str, names: str = "test") -> dict[str, str]:
    """Run tests of a copy, but for those through the local server and the longest."""
    chosen = f"({names}) and not local and not bypassrls and not sequence"
    return copy.failures("-k", chosen, *[f"tests/{file}.py" for file in files])


def test_a_field_and_an_operation_are_added_by_the_patches(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    _apply(copy, "1-field.patch")
    copy.run(sys.executable, "-m", "dev.revision", "due_at")
    _apply(copy, "2-endpoint.patch")
    copy.write_openapi()
    for check in (["check"], ["format", "--check"]):
        copy.run(sys.executable, "-m", "ruff", *check, ".")
    files = ("api/test_operations", "contract/test_openapi", "database/test_statements")
    assert _failures(copy, *files) == {}


def test_a_resource_is_added_by_the_patch_and_mistakes_in_it_are_found(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    _apply(copy, "3-resource.patch")
    copy.run(sys.executable, "-m", "dev.revision", "lists")
    copy.write_openapi()
    for check in (["check"], ["format", "--check"]):
        copy.run(sys.executable, "-m", "ruff", *check, ".")
    assert _failures(copy, "api/test_operations", *LISTS) == {}

    statements = "todo_api/database/lists.py"
    filtered = "rows.select_row(LISTS, self._user_id, list_id)"
    copy.replace(statements, filtered, "sa.select(LISTS).where(LISTS.columns.id == list_id)")
    (revision,) = (copy.folder / "migrations/versions").glob("*_lists.py")
    key = '["user_id", "list_id"]'
    with_owner = f'{key},\n        ["user_id", "id"]'
    copy.replace(str(revision), with_owner, '["list_id"],\n        ["id"]')
    with_owner = f'{key}, ["lists.user_id", "lists.id"]'
    copy.replace("todo_api/models/tables.py", with_owner, '["list_id"], ["lists.id"]')
    copy.replace("todo_api/api/lists.py", ", response_model=ListPublic", ", response_model=None")
    copy.write_openapi()
    expected = {
        "test_every_statement_is_limited_to_the_caller": "retrieveList",
        "test_the_filters_isolate_users_without_row_level_security": "retrieveList",
        "test_no_foreign_key_refers_to_a_row_of_another_owner": "todos (list_id)",
        "test_no_option_of_a_request_changes_what_another_user_gets": "createTodo with list_id",
        "test_every_response_with_a_body_has_a_model": "retrieveList",
    }
    found = _failures(copy, *LISTS, names=" or ".join(expected))
    assert found.keys() == expected.keys()
    for name, mistake in expected.items():
        assert mistake in found[name]

    values = "{'user_id': self._user_id, **body.model_dump()}"
    filtered = "rows.insert_row(LISTS, self._user_id, body.model_dump())"
    copy.replace(statements, filtered, f"sa.insert(LISTS).values({values})")
    name = "test_a_list_is_a_users_first_row_and_is_changed_with_its_entity_tag"
    assert "503" in _failures(copy, "api/test_lists", names=name)[name]
