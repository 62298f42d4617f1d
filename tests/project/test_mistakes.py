"""Mistakes that would show one user's rows to another, each made in a copy of the project."""

from pathlib import Path

import pytest

from tests.support.postgres.revisions import NEXT
from tests.support.project.copies import Copy
from tests.support.project.remarks import add_remarks

pytestmark = pytest.mark.slow

FILES = (
    *("tests/api/test_current_user.py", "tests/database/test_isolation.py"),
    *("tests/database/test_row_level_security.py", "tests/database/test_statements.py"),
)
"""The tests of isolation. A new table or operation does not change them: see test_extending."""

KEY = "(todo_id) REFERENCES todos (id)"
"""A foreign key that does not include the owner."""


def test_each_mistake_is_found_by_a_test_that_names_it(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    add_remarks(copy)
    statements = "todo_api/database/remarks.py"
    is_own = "col(Remark.user_id) == self._user_id"
    copy.replace(statements, f".where({is_own})", "")
    copy.replace(statements, f"{is_own}, ", "")
    revision = f"migrations/versions/{NEXT}_remarks.py"
    copy.replace(
        revision, "(user_id, todo_id) REFERENCES todos (user_id, id)", "(todo_id) REFERENCES todos"
    )
    copy.replace("todo_api/database/isolation.py", " = {CALLER})", " IS NOT NULL)")
    copy.add(statements, "\n    def count(self) -> int:\n        return 0\n")
    copy.replace(
        "todo_api/api/session.py",
        '    """Return the caller\'s user id."""\n',
        '    """Return the caller\'s user id."""\n'
        '    if "as" in request.query_params:\n        return request.query_params["as"]\n',
    )
    expected = {
        # A filter is left out of two statements.
        "test_every_statement_is_limited_to_the_caller": ["listRemarks", "retrieveRemark"],
        "test_the_filters_isolate_users_without_row_level_security": [
            "listRemarks",
            "retrieveRemark",
        ],
        # The policies let every row pass.
        "test_row_level_security_isolates_users_without_the_filters": [
            "listRemarks",
            "retrieveRemark",
        ],
        # Both. And a reference to another user's todo is accepted, to a missing one it is not.
        "test_no_option_of_a_request_changes_what_another_user_gets": [
            *("listRemarks", "retrieveRemark", "createRemark with todo_id: example: 201")
        ],
        # No operation uses a statement.
        "test_every_line_that_makes_a_statement_is_executed": ["return 0"],
        # Another part of the request names the caller.
        "test_the_caller_needs_nothing_but_the_application_and_its_own_source": ["query_string"],
    }
    found = copy.failures(*FILES, "-k", f"not local and ({' or '.join(expected)})")
    assert found.keys() == expected.keys()
    for name, mistakes in expected.items():
        assert [mistake for mistake in mistakes if mistake not in found[name]] == []
