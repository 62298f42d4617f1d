"""What a database holds that concerns isolation between users: one query of its catalog.

It asks for whatever is there, not for a list of names: every relation that the role can reach.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlmodel import SQLModel

from todo_api.database.isolation import ROLE, SCHEMA, quoted

# The role may be missing. Relations with an OID below 16384 are the system's own. Only those with
# an access control list, or an entry in pg_shdepend, can be reached by a role that is not their
# owner: it keeps the query fast beside thousands of other tables.
FACTS_SQL = """
SELECT current_database() AS database, session_user AS login,
    current_setting('server_version_num')::int AS server_version,
    current_setting('row_security') AS row_security,
    current_setting('transaction_read_only') AS transaction_read_only,
    pg_has_role(session_user, to_regrole(:role)::oid, CASE
        WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET'
    END) AS may_switch,
    (
        SELECT json_build_object(
            'LOGIN', rolcanlogin, 'SUPERUSER', rolsuper, 'BYPASSRLS', rolbypassrls,
            'CREATEROLE', rolcreaterole, 'CREATEDB', rolcreatedb, 'REPLICATION', rolreplication
        )
        FROM pg_roles WHERE oid = to_regrole(:role)::oid
    ) AS attributes,
    ARRAY(
        SELECT json_build_object(
            'role', pg_get_userbyid(roleid), 'grantor', pg_get_userbyid(grantor)
        )
        FROM pg_auth_members WHERE member = to_regrole(:role)::oid ORDER BY roleid, grantor
    ) AS memberships,
    ARRAY(
        SELECT pg_describe_object(classid, objid, objsubid) FROM pg_shdepend
        WHERE refclassid = 'pg_authid'::regclass AND refobjid = to_regrole(:role)::oid
            AND deptype = 'o' AND (
                dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                OR (classid = 'pg_database'::regclass AND objid = (
                    SELECT oid FROM pg_database WHERE datname = current_database()
                ))
            )
        ORDER BY 1
    ) AS owned,
    has_schema_privilege(to_regrole(:role)::oid, to_regnamespace(:schema), 'USAGE')
        AS may_use_schema,
    has_database_privilege(to_regrole(:role)::oid, current_database(), 'CREATE')
        AS may_create_schemas,
    ARRAY(
        SELECT nspname FROM pg_namespace
        WHERE nspname !~ '^pg_' AND has_schema_privilege(to_regrole(:role)::oid, oid, 'CREATE')
        ORDER BY 1
    ) AS creates_in,
    ARRAY(
        SELECT json_build_object(
            'schema', (SELECT nspname FROM pg_namespace WHERE oid = relnamespace),
            'name', relname,
            'is_table', relkind IN ('r', 'p'),
            'is_in_usable_schema',
                has_schema_privilege(to_regrole(:role)::oid, relnamespace, 'USAGE'),
            'is_on_search_path', to_regclass(quote_ident(relname)) = c.oid,
            'owner', pg_get_userbyid(relowner),
            'is_of_extension', EXISTS (
                SELECT FROM pg_depend
                WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e'
            ),
            'is_security_invoker', EXISTS (
                SELECT FROM pg_options_to_table(reloptions)
                WHERE option_name = 'security_invoker' AND option_value::boolean
            ),
            'has_row_security', relrowsecurity,
            'privileges', relacl::text[],
            'columns', (
                SELECT coalesce(json_object_agg(attname, attacl::text[]), '{}') FROM pg_attribute
                WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
            ),
            'policies', ARRAY(
                SELECT json_build_object(
                    'name', polname, 'is_permissive', polpermissive, 'command', polcmd,
                    'is_of_role_alone', polroles = ARRAY[to_regrole(:role)::oid],
                    'using', pg_get_expr(polqual, polrelid),
                    'check', pg_get_expr(polwithcheck, polrelid)
                )
                FROM pg_policy
                WHERE polrelid = c.oid AND polroles && ARRAY[0, to_regrole(:role)::oid]
                ORDER BY polname
            ),
            'unique_indexes', ARRAY(
                SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid
                WHERE indrelid = c.oid AND indisunique AND indisvalid
            )
        )
        FROM pg_class c
        WHERE oid >= 16384 AND relkind IN ('r', 'p', 'v', 'm', 'f') AND oid = ANY(ARRAY(
            SELECT oid FROM pg_class WHERE relname = ANY(:tables)
            UNION ALL
            SELECT oid FROM pg_class WHERE relacl IS NOT NULL
            UNION ALL
            SELECT objid FROM pg_shdepend
            WHERE refclassid = 'pg_authid'::regclass AND classid = 'pg_class'::regclass
                AND refobjid = (SELECT to_regrole(:role)::oid)
            UNION ALL
            SELECT attrelid FROM pg_attribute WHERE :every_column AND attacl IS NOT NULL
        ))
        ORDER BY relname
    ) AS relations
"""

_PRIVILEGES = {
    "r": "SELECT",
    "a": "INSERT",
    "w": "UPDATE",
    "d": "DELETE",
    "D": "TRUNCATE",
    "x": "REFERENCES",
    "t": "TRIGGER",
    "m": "MAINTAIN",
}
"""https://www.postgresql.org/docs/current/ddl-priv.html#PRIVILEGE-ABBREVS-TABLE"""


@dataclass(frozen=True)
class Policy:
    """A policy of row-level security that applies to the role."""

    name: str
    is_permissive: bool
    command: str
    """`*` for all, else `r`, `a`, `w` or `d`, as in the catalog `pg_policy`."""
    is_of_role_alone: bool
    using: str | None
    check: str | None


@dataclass(frozen=True)
class Relation:
    """A table, a view or the like: of the models, or one that the role may be able to reach."""

    schema: str
    name: str
    is_table: bool
    is_in_usable_schema: bool | None
    is_on_search_path: bool | None
    owner: str
    is_of_extension: bool
    is_security_invoker: bool
    has_row_security: bool
    privileges: Sequence[str] | None
    """The access control list, None if only the owner has rights."""
    columns: Mapping[str, Sequence[str] | None]
    """The access control list of each column, None if it has none of its own."""
    policies: Sequence[Policy]
    unique_indexes: Sequence[str]

    def __str__(self) -> str:
        """Format as SQL, with the schema."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    @property
    def is_table_of_models(self) -> bool:
        """Whether a model describes it."""
        return self.is_table and self.schema == SCHEMA and self.name in SQLModel.metadata.tables

    @property
    def other_grantors(self) -> list[str]:
        """Who has granted rights to the role or to PUBLIC, except the owner."""
        lists = [self.privileges, *self.columns.values()]
        items = [item for privileges in lists for item in privileges or ()]
        grantors = {
            item.rpartition("/")[2].strip('"')
            for item in items
            if item.partition("=")[0] in ("", ROLE)
        }
        return sorted(grantors - {self.owner})

    def rights_of(self, grantee: str) -> set[str]:
        """Return what is granted to a role, or to PUBLIC if the name is empty: `INSERT (id)`."""
        rights = _granted(self.privileges, grantee)
        for column, privileges in self.columns.items():
            rights |= {f"{right} ({quoted(column)})" for right in _granted(privileges, grantee)}
        return rights


@dataclass(frozen=True)
class Facts:
    """What one database and its server say. Of the role, None means that it does not exist."""

    database: str
    login: str
    server_version: int
    row_security: str
    transaction_read_only: str
    may_switch: bool | None
    attributes: Mapping[str, bool] | None
    memberships: Sequence[Mapping[str, str]]
    """The roles that it is a member of, each with its `grantor`."""
    owned: Sequence[str]
    """What it owns, described as in `table todos`: of this database, and the database itself."""
    may_use_schema: bool | None
    may_create_schemas: bool | None
    creates_in: Sequence[str]
    relations: Sequence[Relation]


def read_facts(connection: sa.Connection, *, every_column: bool) -> Facts:
    """Read what concerns isolation, and the tables of the models, in one round trip.

    Args:
        connection: of any login.
        every_column: also find columns of other tables that are granted to PUBLIC, each on its own.
            No index leads to them, so this takes as long as the database has columns.
    """
    parameters = {
        "role": ROLE,
        "schema": SCHEMA,
        "tables": list(SQLModel.metadata.tables),
        "every_column": every_column,
    }
    row = connection.execute(sa.text(FACTS_SQL), parameters).one()
    relations = [_relation(**values) for values in row.relations]
    return Facts(**{**row._asdict(), "relations": relations})


def _relation(policies: list[dict[str, Any]], **values: Any) -> Relation:
    return Relation(policies=[Policy(**policy) for policy in policies], **values)


def _granted(privileges: Sequence[str] | None, grantee: str) -> set[str]:
    """Read an access control list, of items such as `todo_app=ar*/owner`: * is GRANT OPTION."""
    rights = set()
    for item in privileges or ():
        name, _, letters_and_grantor = item.partition("=")
        if name == grantee:
            letters = letters_and_grantor.partition("/")[0]
            for letter, may_grant in re.findall(r"(\w)(\*?)", letters):
                right = _PRIVILEGES.get(letter, letter)
                rights.add(f"{right} WITH GRANT OPTION" if may_grant else right)
    return rights
