"""The worked examples of docs/extending still fit the code, and what is wrong in one is found.

The tests of isolation know no table and no operation by name.
"""

import sys
from pathlib import Path

import pytest

from dev import ROOT
from tests.support.project.copies import Copy

pytestmark = pytest.mark.slow

PATCHES = ROOT / "docs/extending"
FIELD = ("api/test_operations.py", "contract/test_openapi.py", "database/test_statements.py")
ISOLATION = (
    "api/test_current_user.py",
    *("contract/test_openapi.py", "contract/test_openapi_responses.py"),
    *("database/test_row_level_security.py", "database/test_statements.py"),
    "database/test_tables.py",
)
"""The tests that send each operation of the document, or read each table of the models."""

USER_ROWS = (
    "test_an_export_has_each_row_of_the_user_and_no_other",
    "test_erase_deletes_each_row_of_the_user_and_no_other",
    "test_restore_after_erase_gives_the_same_rows",
)
RESOURCE = (
    *("api/test_operations.py", "api/test_lists.py", *ISOLATION),
    *(f"deploy/test_user_rows.py::{name}" for name in USER_ROWS),
)


def _apply(copy: Copy, name: str) -> None:
    # An error names the file and the line that no longer fit.
    copy.run("git", "apply", str(PATCHES / name))


def _write_openapi_and_check_style(copy: Copy) -> None:
    copy.write_openapi()
    for check in (["check"], ["format", "--check"]):
        copy.run(sys.executable, "-m", "ruff", *check, ".")


def _failures(copy: Copy, *tests: str, names: str = "test") -> dict[str, str]:
    """Run tests of a copy, but for those through the local server or on another cluster."""
    chosen = f"({names}) and not local and not bypassrls"
    return copy.failures("-k", chosen, *[f"tests/{test}" for test in tests])


def test_a_field_and_an_operation_are_added_by_the_patches(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    _apply(copy, "1-field.patch")
    copy.run(sys.executable, "-m", "dev.revision", "due_at")
    _apply(copy, "2-endpoint.patch")
    _write_openapi_and_check_style(copy)
    assert _failures(copy, *FIELD) == {}


EXPECTED = {
    # One statement has no filter.
    "test_every_statement_is_limited_to_the_caller": ["retrieveList"],
    "test_the_filters_isolate_users_without_row_level_security": ["retrieveList"],
    # The policies let every row pass.
    "test_row_level_security_isolates_users_without_the_filters": ["listLists", "retrieveList"],
    # A foreign key does not include the owner.
    "test_no_foreign_key_refers_to_a_row_of_another_owner": ["todos (list_id)"],
    # A unique key does not either.
    "test_no_row_clashes_with_a_row_of_another_owner": ["lists: lists_user_id_id_key"],
    # All of these.
    "test_no_option_of_a_request_changes_what_another_user_gets": [
        *("retrieveList", "createTodo with list_id")
    ],
    # No operation uses a statement.
    "test_every_line_that_makes_a_statement_is_executed": ["return 0"],
    # Another part of the request names the caller.
    "test_the_caller_needs_nothing_but_the_application_and_its_own_source": ["query_string"],
    # A response is a whole row.
    "test_every_response_with_a_body_has_a_model": ["retrieveList"],
    "test_no_response_has_more_than_its_schema": ["retrieveList: user_id"],
}
"""By test that finds a mistake: what it names."""


def _make_mistakes(copy: Copy) -> None:
    statements = "todo_api/database/lists.py"
    filtered = "rows.select_row(LISTS, self._user_id, list_id)"
    copy.replace(statements, filtered, "sa.select(LISTS).where(LISTS.columns.id == list_id)")
    copy.add(statements, "\n    def count(self) -> int:\n        return 0\n")
    copy.replace("todo_api/database/isolation.py", " = {CALLER})", " IS NOT NULL)")
    (revision,) = (copy.folder / "migrations/versions").glob("*_lists.py")
    key = '["user_id", "list_id"]'
    with_owner = f'{key},\n        ["user_id", "id"]'
    copy.replace(str(revision), with_owner, '["list_id"],\n        ["id"]')
    with_owner = f'{key}, ["lists.user_id", "lists.id"]'
    tables = "todo_api/models/tables.py"
    copy.replace(tables, with_owner, '["list_id"], ["lists.id"]')
    unique = 'UniqueConstraint("user_id", "id"'
    copy.replace(str(revision), unique, 'UniqueConstraint("title", "id"')
    copy.replace(tables, unique, 'UniqueConstraint("title", "id", name="lists_user_id_id_key"')
    copy.replace("todo_api/api/lists.py", ", response_model=ListPublic", ", response_model=None")
    copy.replace(
        "todo_api/api/session.py",
        '    """Return the caller\'s user id."""\n',
        '    """Return the caller\'s user id."""\n'
        '    if "as" in request.query_params:\n'
        '        return request.query_params["as"]\n',
    )
    copy.write_openapi()


def test_a_resource_is_added_by_the_patch_and_mistakes_in_it_are_found(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    _apply(copy, "3-resource.patch")
    copy.run(sys.executable, "-m", "dev.revision", "lists")
    _write_openapi_and_check_style(copy)
    assert _failures(copy, *RESOURCE) == {}

    _make_mistakes(copy)
    files = ("database/test_isolation.py", *ISOLATION)
    found = _failures(copy, *files, names=" or ".join(EXPECTED))
    assert found.keys() == EXPECTED.keys()
    for name, mistakes in EXPECTED.items():
        assert [mistake for mistake in mistakes if mistake not in found[name]] == []

    # A create does not insert the user, so nothing else can be tried.
    created = "rows.insert_row(LISTS, self._user_id, body.model_dump())"
    values = "{'user_id': self._user_id, **body.model_dump()}"
    copy.replace("todo_api/database/lists.py", created, f"sa.insert(LISTS).values({values})")
    name = "test_a_list_is_a_users_first_row_and_is_changed_with_its_entity_tag"
    assert "503" in _failures(copy, f"api/test_lists.py::{name}")[name]
