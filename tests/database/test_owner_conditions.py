"""The check that a statement is limited to one user, tried on statements that are and that are not.

The tests in test_statements.py apply it to what the API sends.
"""

import pytest

from tests.support.postgres.statements import unlimited

LIMITED = [
    "SELECT 1",
    "SELECT set_config('role', 'todo_app', true); SELECT id FROM todos WHERE user_id = 'me'",
    "SELECT id FROM todos WHERE 'me' = todos.user_id AND (title = 'x' AND is_completed)",
    "SELECT t.id FROM public.todos AS t WHERE t.user_id = 'me'::varchar",
    "SELECT count(*) FROM todos JOIN users ON users.id = 'me' AND todos.user_id = 'me'",
    "SELECT 1 FROM users LEFT JOIN todos ON todos.user_id = 'me' WHERE users.id = 'me'",
    "SELECT 1 FROM (users AS u LEFT JOIN todos AS t ON t.user_id = 'me'), generate_series(1, 2) "
    "WHERE u.id = 'me'",
    "SELECT EXISTS (SELECT 1 FROM todos WHERE todos.user_id = 'me')",
    "SELECT id FROM (SELECT id FROM todos WHERE user_id = 'me') AS own",
    "SELECT id FROM todos WHERE user_id = 'me' UNION SELECT id FROM todos WHERE user_id = 'me'",
    "WITH own AS (SELECT * FROM todos WHERE user_id = 'me') SELECT * FROM own",
    "WITH todos AS (SELECT * FROM todos WHERE user_id = 'me') SELECT * FROM todos",
    "UPDATE todos SET title = 'x' WHERE todos.user_id = 'me'",
    "UPDATE todos SET user_id = 'me' FROM users WHERE todos.user_id = 'me' AND users.id = 'me'",
    "DELETE FROM todos USING users WHERE todos.user_id = 'me' AND users.id = 'me'",
    "INSERT INTO todos (title, user_id) VALUES ('x', 'me'), ('y', 'me') RETURNING id",
    "INSERT INTO users (id) VALUES ('me') ON CONFLICT DO NOTHING",
    "INSERT INTO todos (user_id, title) VALUES ('me', 'x') "
    "ON CONFLICT (user_id, idempotency_key) DO UPDATE SET idempotency_key = 'x'",
    "INSERT INTO todos (user_id, title) SELECT 'me', title FROM todos WHERE user_id = 'me'",
    "INSERT INTO todos (user_id) SELECT t.user_id FROM todos AS t WHERE t.user_id = 'me'",
    "INSERT INTO todos (title, user_id) SELECT p1::text, p0::text "
    "FROM (VALUES ('me', 'x', 0), ('me', 'y', 1)) AS v(p0, p1, number) ORDER BY number",
]

NOT_LIMITED = [
    "SELECT id FROM todos",
    "SELECT id FROM todos WHERE user_id = 'other'",
    "SELECT id FROM todos WHERE user_id <> 'me'",
    "SELECT id FROM todos WHERE user_id = 'me' OR is_completed",
    "SELECT id FROM todos WHERE NOT user_id = 'me'",
    "SELECT id FROM todos WHERE title = 'me'",
    "SELECT id FROM todos WHERE user_id IN ('me', 'other')",
    "SELECT user_id = 'me' FROM todos",
    "SELECT id FROM todos WHERE user_id = current_setting('app.user_id')",
    "SELECT id FROM todos AS t, users AS u WHERE u.id = 'me'",
    "SELECT id FROM todos, users WHERE user_id = 'me' AND users.id = 'me'",
    "SELECT 1 FROM users JOIN todos ON todos.user_id = users.id WHERE users.id = 'me'",
    "SELECT 1 FROM todos LEFT JOIN users ON users.id = 'me' AND todos.user_id = 'me'",
    "SELECT 1 FROM todos LEFT JOIN (SELECT id FROM todos WHERE user_id = 'me') AS own "
    "ON todos.user_id = 'me'",
    "SELECT 1 FROM todos RIGHT JOIN users ON users.id = 'me' WHERE todos.user_id = 'me'",
    "SELECT 1 FROM todos FULL JOIN users ON users.id = 'me' AND todos.user_id = 'me'",
    "SELECT 1 FROM todos AS a, todos AS b WHERE a.user_id = 'me'",
    "SELECT EXISTS (SELECT 1 FROM todos) FROM users WHERE users.id = 'me'",
    "SELECT 1 FROM users WHERE users.id = 'me' AND users.id IN (SELECT todos.user_id FROM todos)",
    "SELECT id FROM todos WHERE user_id = 'me' UNION SELECT id FROM todos",
    "WITH other AS (SELECT * FROM todos) SELECT * FROM other WHERE other.user_id = 'me'",
    "WITH todos AS (SELECT * FROM todos) SELECT * FROM todos WHERE todos.user_id = 'me'",
    "WITH own AS (SELECT * FROM todos WHERE user_id = 'me') SELECT * FROM own, todos",
    "WITH todos AS (SELECT * FROM todos WHERE user_id = 'me') SELECT * FROM public.todos",
    "WITH every AS (SELECT * FROM todos), todos AS (SELECT * FROM todos WHERE user_id = 'me') "
    "SELECT * FROM every",
    "SELECT id FROM todos WHERE id IN "
    "(SELECT todos.id FROM users JOIN todos ON todos.user_id = 'me' WHERE users.id = 'me')",
    "SELECT * FROM todos_of_everybody WHERE user_id = 'me'",
    "SELECT * FROM all_todos()",
    "SELECT * FROM public.first(1)",
    "SELECT total()",
    "SELECT public.set_config('role', 'todo_app', true)",
    "SELECT * FROM auth.users WHERE users.id = 'me'",
    "UPDATE todos SET title = 'x' WHERE id = 'x'",
    "UPDATE todos SET user_id = 'other' WHERE todos.user_id = 'me'",
    "UPDATE todos SET title = 'x' FROM users WHERE users.id = 'me'",
    "WITH own AS (SELECT id FROM todos WHERE user_id = 'me') "
    "UPDATE todos SET title = 'x' FROM own WHERE todos.id = own.id",
    "DELETE FROM todos USING users WHERE todos.user_id = users.id AND users.id = 'me'",
    "INSERT INTO todos (title) VALUES ('x')",
    "INSERT INTO todos VALUES ('me')",
    "INSERT INTO todos DEFAULT VALUES",
    "INSERT INTO todos (title, user_id) VALUES ('me', 'other')",
    "INSERT INTO todos (title, user_id) VALUES ('x', 'me'), ('y', 'other')",
    "INSERT INTO users (id) VALUES ('me') ON CONFLICT (created_at) DO UPDATE SET id = 'me'",
    "INSERT INTO todos (id, user_id) VALUES ('x', 'me') ON CONFLICT (id) DO UPDATE SET title = ''",
    "INSERT INTO todos (user_id, title) VALUES ('me', 'x') "
    "ON CONFLICT (user_id, title) DO UPDATE SET user_id = 'other'",
    "INSERT INTO todos (user_id, title) SELECT 'me', title FROM todos",
    "INSERT INTO todos (user_id, title) SELECT user_id, title FROM todos WHERE title = 'me'",
    "INSERT INTO todos (title, user_id) SELECT p0, p1 FROM (VALUES ('me', 'x')) AS v(p0, p1)",
    "MERGE INTO todos USING users ON todos.user_id = 'me' AND users.id = 'me' "
    "WHEN MATCHED THEN DELETE",
    "WITH gone AS (MERGE INTO todos USING users ON todos.user_id = 'me' AND users.id = 'me' "
    "WHEN MATCHED THEN DELETE RETURNING todos.id) SELECT * FROM gone",
    "TABLE todos",
    "TRUNCATE todos",
    "COPY todos TO STDOUT",
    "LOCK TABLE todos",
]


@pytest.mark.parametrize("statement", LIMITED)
def test_a_statement_that_is_limited_to_its_user_is_accepted(statement: str) -> None:
    assert unlimited(statement, "me") == []


@pytest.mark.parametrize("statement", NOT_LIMITED)
def test_a_statement_that_is_not_limited_to_its_user_is_found(statement: str) -> None:
    assert unlimited(statement, "me") != []
