"""What may be done to a migrated database, and what then differs from the models' isolation."""

from collections.abc import Callable

Change = Callable[[list[str]], str]
"""Runs statements on a new migrated database, and returns its URI."""

CALLER = "current_setting('app.user_id', true)"
OWN = f"TO todo_app USING (user_id = {CALLER})"

# Each is what somebody does to a database, and what differs then. `reporting` and `other_app` are
# roles.
Damage = tuple[list[str], str]

REPAIRED: list[Damage] = [
    (["ALTER TABLE todos DISABLE ROW LEVEL SECURITY"], "row-level security is off on todos"),
    (["ALTER TABLE users DISABLE ROW LEVEL SECURITY"], "row-level security is off on users"),
    (["DROP POLICY own_rows ON todos"], "todos does not have the policy as described, but none"),
    (
        ["ALTER POLICY own_rows ON todos WITH CHECK (true)"],
        "todos does not have the policy as described, but own_rows",
    ),
    (
        ["CREATE POLICY everything ON todos USING (true)"],  # to PUBLIC
        "todos does not have the policy as described, but everything, own_rows",
    ),
    (
        ["CREATE POLICY everything ON users TO todo_app USING (true)"],
        "users does not have the policy as described, but everything, own_rows",
    ),
    (
        [
            "DROP POLICY own_rows ON todos",
            f"CREATE POLICY own_rows ON todos AS RESTRICTIVE {OWN} WITH CHECK (user_id = {CALLER})",
        ],
        "todos does not have the policy as described, but own_rows",
    ),
    (
        ["DROP POLICY own_rows ON todos", f"CREATE POLICY own_rows ON todos FOR SELECT {OWN}"],
        "todos does not have the policy as described, but own_rows",
    ),
    (
        [
            "DROP POLICY own_rows ON todos",
            "CREATE POLICY own_rows ON todos TO reporting USING (true)",
        ],
        "todos does not have the policy as described, but none",
    ),
    (["ALTER ROLE todo_app BYPASSRLS"], "todo_app has the attribute BYPASSRLS"),
    (["ALTER ROLE todo_app CREATEROLE"], "todo_app has the attribute CREATEROLE"),
    (["ALTER ROLE todo_app LOGIN"], "todo_app has the attribute LOGIN"),
    (["GRANT reporting TO todo_app"], "todo_app is a member of reporting"),
    (["GRANT reporting TO todo_app WITH INHERIT FALSE"], "todo_app is a member of reporting"),
    (
        [
            "GRANT reporting TO other_app WITH ADMIN OPTION",
            "SET ROLE other_app",
            "GRANT reporting TO todo_app",
        ],
        "todo_app is a member of reporting",
    ),
    (["ALTER TABLE todos OWNER TO todo_app"], "todo_app owns table todos"),
    (["ALTER SCHEMA public OWNER TO todo_app"], "todo_app owns schema public"),
    (["ALTER DATABASE {database} OWNER TO todo_app"], "todo_app owns database"),
    (["CREATE SEQUENCE x", "ALTER SEQUENCE x OWNER TO todo_app"], "todo_app owns sequence x"),
    (["REVOKE DELETE ON todos FROM todo_app"], "todo_app may not DELETE on todos"),
    (["REVOKE INSERT (id) ON users FROM todo_app"], "todo_app may not INSERT (id) on users"),
    (["GRANT TRUNCATE ON todos TO todo_app"], "todo_app may TRUNCATE on todos"),
    (["GRANT SELECT ON users TO PUBLIC"], "todo_app may SELECT on users"),
    (["GRANT SELECT (created_at) ON users TO PUBLIC"], "todo_app may SELECT (created_at) on users"),
    (
        [
            "GRANT SELECT ON users TO reporting WITH GRANT OPTION",
            "SET ROLE reporting",
            "GRANT SELECT ON users TO todo_app",
        ],
        "todo_app may SELECT on users",
    ),
    (
        [
            "GRANT UPDATE (id) ON users TO other_app WITH GRANT OPTION",
            "SET ROLE other_app",
            "GRANT UPDATE (id) ON users TO PUBLIC",
            "RESET ROLE",
        ],
        "todo_app may UPDATE (id) on users",
    ),
    (
        ["GRANT SELECT ON todos TO todo_app WITH GRANT OPTION"],
        "todo_app may not SELECT and may SELECT WITH GRANT OPTION on todos",
    ),
    (
        ["GRANT SELECT ON alembic_version TO todo_app"],
        "todo_app may SELECT on public.alembic_version, without a policy for own rows",
    ),
    (["REVOKE USAGE ON SCHEMA public FROM PUBLIC, todo_app"], "todo_app may not use the schema"),
    (["GRANT CREATE ON SCHEMA public TO PUBLIC"], "todo_app may create in the schema public"),
    (
        ["CREATE TABLE remarks (user_id text)", "GRANT SELECT ON remarks TO todo_app"],
        "todo_app may SELECT on public.remarks, without a policy for own rows",
    ),
    (
        ["CREATE TABLE remarks (user_id text)", "GRANT UPDATE (user_id) ON remarks TO todo_app"],
        "todo_app may UPDATE (user_id) on public.remarks, without a policy for own rows",
    ),
    (
        ["CREATE TABLE remarks (user_id text)", "ALTER TABLE remarks OWNER TO todo_app"],
        "todo_app owns table remarks",
    ),
    (
        [
            "CREATE TABLE remarks (user_id text)",
            "ALTER TABLE remarks ENABLE ROW LEVEL SECURITY",
            f"CREATE POLICY own ON remarks {OWN}",
            "CREATE POLICY shared ON remarks USING (true)",
            "GRANT SELECT ON remarks TO todo_app",
        ],
        "todo_app may SELECT on public.remarks, without a policy for own rows",
    ),
    (
        [
            "CREATE TABLE remarks (user_id name)",
            "ALTER TABLE remarks ENABLE ROW LEVEL SECURITY",
            f"CREATE POLICY own ON remarks TO todo_app USING (current_user = {CALLER})",
            "GRANT SELECT ON remarks TO todo_app",
        ],
        "todo_app may SELECT on public.remarks, without a policy for own rows",
    ),
    (
        [
            "CREATE TABLE remarks (user_id text)",
            "ALTER TABLE remarks ENABLE ROW LEVEL SECURITY",
            f"CREATE POLICY own ON remarks {OWN}",
            "GRANT SELECT, TRUNCATE ON remarks TO todo_app",
        ],
        "todo_app may SELECT, TRUNCATE on public.remarks, without a policy for own rows",
    ),
    (
        [
            "CREATE TABLE parts (user_id text) PARTITION BY LIST (user_id)",
            "CREATE TABLE part PARTITION OF parts DEFAULT",
            "GRANT SELECT ON part TO todo_app",
        ],
        "todo_app may SELECT on public.part, without a policy for own rows",
    ),
    (
        ["CREATE VIEW all_todos AS SELECT * FROM todos", "GRANT SELECT ON all_todos TO todo_app"],
        "todo_app may SELECT on public.all_todos, without a policy for own rows",
    ),
    (
        [
            "CREATE FOREIGN DATA WRAPPER nowhere",
            "CREATE SERVER elsewhere FOREIGN DATA WRAPPER nowhere",
            "CREATE FOREIGN TABLE remote (user_id text) SERVER elsewhere",
            "GRANT SELECT ON remote TO todo_app",
        ],
        "todo_app may SELECT on public.remote, without a policy for own rows",
    ),
]
"""A migration makes these right, because they concern only the role and the models' tables."""

REPORTED: list[Damage] = [
    (["CREATE SCHEMA app", "GRANT CREATE ON SCHEMA app TO todo_app"], "create in the schema app"),
    (["GRANT CREATE ON DATABASE {database} TO todo_app"], "may create schemas in the database"),
    (
        ["CREATE TABLE remarks (user_id text)", "GRANT INSERT ON remarks TO PUBLIC"],
        "todo_app may INSERT on public.remarks, without a policy for own rows",
    ),
    (
        [
            "CREATE MATERIALIZED VIEW all_todos AS SELECT * FROM todos",
            "GRANT SELECT ON all_todos TO PUBLIC",
        ],
        "todo_app may SELECT on public.all_todos, without a policy for own rows",
    ),
    (
        [
            "CREATE SCHEMA app",
            "GRANT USAGE ON SCHEMA app TO PUBLIC",
            "CREATE TABLE app.secrets ()",
            "GRANT SELECT ON app.secrets TO PUBLIC",
        ],
        "todo_app may SELECT on app.secrets, without a policy for own rows",
    ),
    (
        [
            "CREATE SCHEMA app",
            "GRANT USAGE ON SCHEMA app TO todo_app",
            "CREATE TABLE app.todos ()",
            "ALTER DATABASE {database} SET search_path = app, public",
        ],
        "the search path does not lead to public.todos",
    ),
    (
        ["ALTER DATABASE {database} SET default_transaction_read_only = on"],
        "transactions are read-only",
    ),
    (["ALTER ROLE postgres SET row_security = off"], "row_security is off"),
    (
        ["DROP INDEX todos_by_idempotency_key"],
        "todos lacks the unique index todos_by_idempotency_key, or it is invalid",
    ),
    (
        [
            "UPDATE pg_index SET indisvalid = false "
            "WHERE indexrelid = 'todos_by_idempotency_key'::regclass"
        ],
        "todos lacks the unique index todos_by_idempotency_key, or it is invalid",
    ),
    (["ALTER TABLE todos DROP CONSTRAINT todos_pkey"], "todos lacks todos_pkey"),
    (
        ["ALTER TABLE todos DROP COLUMN idempotency_key"],
        "todos lacks the column idempotency_key; "
        "todos lacks the unique index todos_by_idempotency_key, or it is invalid",
    ),
    (["ALTER TABLE todos DROP COLUMN is_completed"], "todos lacks the column is_completed"),
]
"""Of these a migration only says which SQL makes them right: others may need what is there, or a
revision should have made it."""

LOST: list[Damage] = [
    (["ALTER TABLE todos RENAME title TO name"], "todos lacks the column title"),
    (["ALTER TABLE todos RENAME TO tasks"], "the table todos is missing"),
    (
        ["ALTER TABLE todos RENAME TO tasks", "CREATE VIEW todos AS SELECT * FROM tasks"],
        "the table todos is missing",
    ),
]
"""These no statement makes right, because it could not bring the rows back."""

HARMLESS: list[list[str]] = [
    ["CREATE TABLE remarks (user_id text)"],
    ["ALTER TABLE todos ADD COLUMN due_at timestamptz"],
    ["CREATE INDEX ON todos (title)"],
    [
        "CREATE POLICY report ON todos TO reporting USING (true)",
        "GRANT SELECT ON todos TO reporting",
    ],
    ["GRANT todo_app TO reporting"],
    [
        "CREATE SCHEMA auth",
        "CREATE TABLE auth.users (id text)",
        "ALTER TABLE auth.users ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY all_rows ON auth.users USING (true)",
        "GRANT SELECT ON auth.users TO PUBLIC",
    ],
    [
        "CREATE TABLE remarks (user_id text)",
        "ALTER TABLE remarks ENABLE ROW LEVEL SECURITY",
        f"CREATE POLICY own ON remarks {OWN}",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON remarks TO todo_app",
    ],
    [
        'CREATE TABLE remarks ("the owner" varchar)',
        "ALTER TABLE remarks ENABLE ROW LEVEL SECURITY",
        f'CREATE POLICY own ON remarks TO todo_app USING ("the owner" = {CALLER})',
        "GRANT SELECT ON remarks TO todo_app",
    ],
    [
        "CREATE VIEW mine WITH (security_invoker = on) AS SELECT * FROM todos",
        "GRANT SELECT ON mine TO todo_app",
    ],
    ["CREATE VIEW all_todos AS SELECT * FROM todos"],
    ["CREATE SEQUENCE numbers", "GRANT USAGE ON SEQUENCE numbers TO todo_app"],
    ["ALTER ROLE todo_app SET search_path = app"],  # takes effect at a login, which it has not
    ["ALTER TABLE todos FORCE ROW LEVEL SECURITY"],
    ["UPDATE alembic_version SET version_num = '9999'"],
    ["CREATE TABLE remarks ()", "GRANT ALL ON remarks TO other_app"],
]
"""With these a database is as good as before."""
