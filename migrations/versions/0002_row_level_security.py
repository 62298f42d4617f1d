"""Row-level security: a second protection between users, for the role that requests use.

`todo_app` cannot log in: a request's login role switches to it for the time of one statement, so
there is no second password. It has exactly the rights that the repository's statements and `/ready`
need.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

# A role belongs to the whole cluster. It may already be there, for another database, or may be made
# by a migration of another database at this very moment; the advisory lock holds for one database
# only.
CREATE_ROLE = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'todo_app') THEN
        CREATE ROLE todo_app NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END $$
"""

# Since PostgreSQL 16, who made a role may grant it, but may not act as it before it is granted.
GRANT_ROLE = """
DO $$ BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_auth_members
        WHERE roleid = 'todo_app'::regrole AND member = current_user::regrole AND {may_switch}
    ) THEN
        GRANT todo_app TO CURRENT_USER {with_set};
    END IF;
EXCEPTION WHEN unique_violation THEN
    NULL;
END $$
"""


def upgrade() -> None:
    """Create the role, grant it, and enable row-level security."""
    op.execute(CREATE_ROLE)
    version = op.get_bind().dialect.server_version_info or (0,)
    since_16 = version >= (16,)
    op.execute(
        GRANT_ROLE.format(
            may_switch="set_option" if since_16 else "true",
            with_set="WITH SET TRUE" if since_16 else "",
        )
    )
    op.execute("GRANT USAGE ON SCHEMA public TO todo_app")
    op.execute("GRANT SELECT ON alembic_version TO todo_app")
    op.execute("GRANT INSERT (id) ON users TO todo_app")
    op.execute("GRANT SELECT, DELETE ON todos TO todo_app")
    op.execute("GRANT INSERT (user_id, title, description, is_completed) ON todos TO todo_app")
    op.execute("GRANT UPDATE (title, description, is_completed, updated_at) ON todos TO todo_app")
    for table, owner in (("users", "id"), ("todos", "user_id")):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        # For select, insert, update and delete alike. An unset app.user_id reads as null or '',
        # which no user id is.
        mine = f"{owner} = current_setting('app.user_id', true)"
        op.execute(
            f"CREATE POLICY own_rows ON {table} TO todo_app USING ({mine}) WITH CHECK ({mine})"
        )


def downgrade() -> None:
    """Disable row-level security.

    The role stays, because another database of the cluster may use it.
    """
    for table in ("todos", "users"):
        op.execute(f"DROP POLICY own_rows ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    op.execute("REVOKE ALL ON todos, users, alembic_version FROM todo_app")
    op.execute("REVOKE ALL (id) ON users FROM todo_app")
    op.execute(
        "REVOKE ALL (user_id, title, description, is_completed, updated_at) ON todos FROM todo_app"
    )
    op.execute("REVOKE USAGE ON SCHEMA public FROM todo_app")
