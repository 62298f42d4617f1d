"""The roles that functions log in as: what the owner's connection asks and changes of them."""

import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import psycopg2
from psycopg2 import extensions
from psycopg2.sql import SQL, Identifier, Literal

from migrations.owner import SYSTEM_PATH_SQL, answer_within, connect, direct_url
from todo_api.database.isolation import ROLE

STATEMENT_SECONDS = 30

# NOINHERIT: the login has no rights before it switches to todo_app. The password is in clear,
# inside TLS, because Neon hands it to the proxy before the database. The proxy does not know of
# NOLOGIN, so locking changes the password too.
CREATE = "CREATE ROLE {name} LOGIN NOINHERIT IN ROLE {role} PASSWORD {password}"
COMMENT = "COMMENT ON ROLE {name} IS {comment}"

# `owned` counts objects of all databases, `granted` rights on any object but a database.
ROLE_SQL = """
SELECT rolcanlogin AND coalesce(rolvaliduntil > now(), true) AS may_log_in,
    json_build_object(
        'SUPERUSER', rolsuper, 'BYPASSRLS', rolbypassrls, 'CREATEROLE', rolcreaterole,
        'CREATEDB', rolcreatedb, 'REPLICATION', rolreplication
    ) AS attributes,
    ARRAY(
        SELECT roleid::regrole || CASE WHEN admin_option THEN ' WITH ADMIN OPTION' ELSE '' END
        FROM pg_auth_members WHERE member = pg_roles.oid ORDER BY 1
    ) AS memberships,
    pg_has_role(oid, %(role)s::name, 'USAGE') AS inherits,
    (
        SELECT count(*) FROM pg_shdepend
        WHERE refclassid = 'pg_authid'::regclass AND refobjid = pg_roles.oid AND deptype = 'o'
    ) AS owned,
    (
        SELECT count(*) FROM pg_shdepend
        WHERE refclassid = 'pg_authid'::regclass AND refobjid = pg_roles.oid AND deptype = 'a'
            AND classid NOT IN ('pg_database'::regclass, 'pg_auth_members'::regclass)
    ) AS granted,
    has_database_privilege(oid, current_database(), 'CREATE') AS creates_schemas,
    ARRAY(
        SELECT nspname FROM pg_namespace
        WHERE nspname !~ '^pg_' AND has_schema_privilege(pg_roles.oid, pg_namespace.oid, 'CREATE')
        ORDER BY 1
    ) AS creates_in
FROM pg_roles WHERE rolname = %(name)s
"""
MAY_CONNECT_SQL = "SELECT has_database_privilege(%(name)s, current_database(), 'CONNECT')"

# A login of an earlier release has no comment.
OTHERS_SQL = """
SELECT rolname, rolcanlogin FROM pg_roles
WHERE rolname <> %(used)s AND (
    shobj_description(oid, 'pg_authid') = %(comment)s
    OR (shobj_description(oid, 'pg_authid') IS NULL AND rolname ~ %(pattern)s)
)
ORDER BY 1
"""


class LoginError(Exception):
    """The database refused; the message says what to do, without a password."""


class Roles:
    """The roles of one stage, through the owner's direct connection."""

    def __init__(self, owner_url: str, stage: str) -> None:
        """Connect.

        Raises:
            psycopg2.OperationalError: it failed.
        """
        self.owner = extensions.parse_dsn(owner_url)["user"]
        self.database = extensions.parse_dsn(owner_url)["dbname"]
        self.prefix = f"todo_app_{stage.replace('-', '_')}_"
        self.pattern = f"{self.prefix}([0-9a-f]{{8}}|by_hand)"
        self.comment = f"todo-api: the function's login, stage {stage}, database {self.database}"
        self._url = direct_url(owner_url)
        self._connection = connect(self._url)
        self._connection.autocommit = True

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def is_of_the_stage(self, name: str) -> bool:
        """Whether a deploy of this stage may have made a role of this name."""
        return bool(re.fullmatch(self.pattern, name))

    def new_name(self) -> str:
        """Return a name that no role has had."""
        return f"{self.prefix}{secrets.token_hex(4)}"

    def create(self, name: str, password: str) -> None:
        """Create a login.

        Raises:
            LoginError: the owner may not; with the SQL for a role that may.
        """
        comment = self.sql(COMMENT, name=name, comment=self.comment)
        try:
            self.run(self.sql(CREATE, name=name, role=ROLE, password=password))
        except psycopg2.errors.InsufficientPrivilege as error:
            # To be filled in by hand.
            by_hand = self.sql(CREATE, name=name, role=ROLE, password="…")  # noqa: S106
            raise LoginError(
                f"The owner may not create a login: {error.diag.message_primary}. As a role that "
                f"may, run: {by_hand}; {comment}; then write the connection string with this user "
                "and password to the parameter, as a SecureString."
            ) from None
        self.run(comment)

    def mark(self, name: str) -> None:
        """Add the comment that a login of an earlier release lacks."""
        if self.is_of_the_stage(name):
            with suppress(psycopg2.errors.InsufficientPrivilege):
                self.run(self.sql(COMMENT, name=name, comment=self.comment))

    def drop(self, name: str) -> None:
        """Drop a login that was never used."""
        self._revoke_connect(name)
        self.run(self.sql("DROP ROLE {name}", name=name))

    def may_log_in(self, name: str) -> bool:
        """Whether the role exists, and may log in to some database."""
        return [row[0] for row in self.run(ROLE_SQL, name=name, role=ROLE)] == [True]

    def grant_connect(self, name: str) -> None:
        """Grant the right to connect where PUBLIC does not have it.

        Raises:
            LoginError: the owner may not; with the SQL for a role that may.
        """
        if self.has(MAY_CONNECT_SQL, name):
            return
        with suppress(psycopg2.errors.InsufficientPrivilege):
            self.run(
                self.sql(
                    "GRANT CONNECT ON DATABASE {database} TO {name}",
                    name=name,
                    database=self.database,
                )
            )
        if not self.has(MAY_CONNECT_SQL, name):
            grant = self.sql(
                "GRANT CONNECT ON DATABASE {database} TO {name}",
                name=self.owner,
                database=self.database,
            )
            raise LoginError(
                f"The login {name} may not connect to the database {self.database}, and "
                f"{self.owner} may not let it. As a role that may, run: {grant} WITH GRANT OPTION."
            )

    def differences(self, name: str) -> list[str]:
        """Return what an existing role is, has or may that a login of the function must not."""
        (row,) = self.run(ROLE_SQL, name=name, role=ROLE)
        _, attributes, memberships, inherits, owned, granted, creates_schemas, creates_in = row
        found = [
            f"it has the attribute {attribute}"
            for attribute, is_set in attributes.items()
            if is_set
        ]
        if memberships != [ROLE]:
            roles = ", ".join(memberships) or "no role"
            found.append(f"it is a member of {roles}, and not of {ROLE} alone")
        if inherits:
            found.append(f"it inherits the rights of {ROLE}")
        if owned:
            found.append(f"it owns something ({owned})")
        if granted:
            found.append(f"it has rights of its own ({granted})")
        if creates_schemas:
            remedy = self.sql(
                "REVOKE CREATE ON DATABASE {database} FROM PUBLIC", database=self.database
            )
            found.append(f"it may create schemas ({remedy})")
        for schema in creates_in:
            remedy = self.sql("REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC", schema=schema)
            found.append(f"it may create in the schema {schema} ({remedy})")
        return found

    def others(self, used: str) -> dict[str, bool]:
        """Return every other login of this stage and database, and whether it may log in."""
        pattern = f"^{self.pattern}$"
        return dict(self.run(OTHERS_SQL, used=used, comment=self.comment, pattern=pattern))

    def lock(self, names: Iterable[str]) -> None:
        """Refuse these logins from now on.

        Raises:
            LoginError: the owner may not; with the SQL for a role that may.
        """
        remedies = []
        for name in names:
            try:
                self.run(
                    self.sql(
                        "ALTER ROLE {name} NOLOGIN PASSWORD {password}",
                        name=name,
                        password=secrets.token_urlsafe(32),
                    )
                )
            except psycopg2.errors.InsufficientPrivilege:
                remedies.append(self.sql("ALTER ROLE {name} NOLOGIN PASSWORD NULL", name=name))
            else:
                self._revoke_connect(name)
        if remedies:
            raise LoginError(
                f"{self.owner} may not lock the other logins of the function, and so they still "
                f"work. As a role that may, run: {'; '.join(remedies)}."
            )

    def has(self, query: str, name: str) -> bool:
        """Whether the answer to a query about a role is yes."""
        return self.run(query, name=name) == [(True,)]

    def _revoke_connect(self, name: str) -> None:
        """Take back what `grant_connect` has granted, or the role could not be dropped."""
        with suppress(psycopg2.errors.InsufficientPrivilege):
            self.run(
                self.sql(
                    "REVOKE CONNECT ON DATABASE {database} FROM {name}",
                    name=name,
                    database=self.database,
                )
            )

    def run(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        """Run a statement in a transaction of its own, and return its rows."""
        limit = answer_within(STATEMENT_SECONDS, self._url, "a statement of the owner")
        with limit, self._connection.cursor() as cursor:
            cursor.execute(f"{SYSTEM_PATH_SQL}; {statement}", values or None)
            return cursor.fetchall() if cursor.description else []

    def sql(self, template: str, **values: str) -> str:
        """Fill in a template: passwords and comments as literals, everything else as names."""
        parts = {
            key: Literal(value) if key in ("password", "comment") else Identifier(value)
            for key, value in values.items()
        }
        return str(SQL(template).format(**parts).as_string(self._connection))
