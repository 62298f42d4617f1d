"""In what the isolation of a database differs from its description, and which SQL repairs it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from todo_api.database.catalog import Facts, Policy, Relation
from todo_api.database.isolation import (
    CALLER,
    POLICY,
    READ_AND_WRITE,
    ROLE,
    SCHEMA,
    TableIsolation,
    quoted,
    table_isolations,
)

# A column that is compared with the session's user, as PostgreSQL prints it. Not CURRENT_USER,
# which it prints in capitals.
_OWN_ROWS = re.compile(rf'\(([a-z_][a-z0-9_]*|"[^"]+"|\([^()]+\)::text) = {re.escape(CALLER)}\)')


@dataclass(frozen=True)
class Difference:
    """Something in which a database is not as the models describe it."""

    what: str
    """A clause that names the object."""
    sql: str
    """What makes it right. Empty if no statement can: rows or a whole table are missing."""
    is_repairable: bool = False
    """Whether a migration runs the SQL: it concerns only the role and the tables of the models."""
    is_made_by_revision: bool = False
    """Whether it is a table or a column, which a revision should have made."""


def isolation_differences(facts: Facts) -> list[Difference]:
    """Return in what the isolation differs from its description, in the order of repair.

    Rights come last, so that nothing is granted before row-level security limits it.
    """
    isolations = {table.name: table for table in table_isolations()}
    found = [*_of_settings(facts), *_of_role(facts)]
    for relation in facts.relations:
        if relation.is_table_of_models:
            found += _of_row_security(relation, isolations[relation.name])
    for relation in facts.relations:
        if relation.is_table_of_models:
            found += _of_rights(relation, isolations[relation.name])
        else:
            found += _of_other_relation(relation)
    return found


def _of_role(facts: Facts) -> Iterator[Difference]:
    if facts.attributes is None:
        yield Difference(
            f"the role {ROLE} is missing",
            f"CREATE ROLE {ROLE} NOLOGIN",
            is_repairable=True,
        )
    if not facts.may_switch:
        option = " WITH SET TRUE" if facts.server_version >= 160_000 else ""
        sql = f"GRANT {ROLE} TO {quoted(facts.login)}{option}"
        yield Difference(f"{facts.login} may not switch to {ROLE}", sql, is_repairable=True)
    for attribute, is_set in (facts.attributes or {}).items():
        if is_set:
            what = f"{ROLE} has the attribute {attribute}"
            yield Difference(what, f"ALTER ROLE {ROLE} NO{attribute}", is_repairable=True)
    for membership in facts.memberships:
        other = quoted(membership["role"])
        sql = f"REVOKE {other} FROM {ROLE}"
        if facts.server_version >= 160_000:  # each grantor's grant is one of its own there
            sql += f" GRANTED BY {quoted(membership['grantor'])}"
        yield Difference(f"{ROLE} is a member of {other}", sql, is_repairable=True)
    for owned_object in facts.owned:  # row-level security does not apply to a table's owner
        sql = f"REASSIGN OWNED BY {ROLE} TO {quoted(facts.login)}"
        yield Difference(f"{ROLE} owns {owned_object}", sql, is_repairable=True)
    for schema in facts.creates_in:
        what = f"{ROLE} may create in the schema {schema}"
        sql = f"REVOKE CREATE ON SCHEMA {quoted(schema)} FROM PUBLIC, {ROLE}"
        yield Difference(what, sql, is_repairable=schema == SCHEMA)
    if facts.may_create_schemas:
        what = f"{ROLE} may create schemas in the database {facts.database}"
        sql = f"REVOKE CREATE ON DATABASE {quoted(facts.database)} FROM PUBLIC, {ROLE}"
        yield Difference(what, sql)
    if not facts.may_use_schema:
        sql = f"GRANT USAGE ON SCHEMA {SCHEMA} TO {ROLE}"
        yield Difference(f"{ROLE} may not use the schema {SCHEMA}", sql, is_repairable=True)


def _of_settings(facts: Facts) -> Iterator[Difference]:
    if facts.row_security == "off":  # PostgreSQL would refuse every statement
        yield Difference("row_security is off", reset(facts, "row_security"))
    if facts.transaction_read_only == "on":
        # This session is read-only too, so SET comes first.
        sql = reset(facts, "default_transaction_read_only")
        sql = f"SET default_transaction_read_only = off; {sql}"
        yield Difference("transactions are read-only", sql)


def reset(facts: Facts, setting: str) -> str:
    """Return the SQL that gives a setting of the database and of the login its default again."""
    database = quoted(facts.database)
    login = quoted(facts.login)
    return (
        f"ALTER DATABASE {database} RESET {setting}; ALTER ROLE {login} RESET {setting}; "
        f"ALTER ROLE {login} IN DATABASE {database} RESET {setting}"
    )


def _of_row_security(
    relation: Relation,
    isolation: TableIsolation,
) -> Iterator[Difference]:
    condition = isolation.condition
    own_rows = Policy(
        name=POLICY,
        is_permissive=True,
        command="*",
        is_of_role_alone=True,
        using=condition,
        check=condition,
    )
    if relation.policies != ([own_rows] if condition else []):
        yield _other_policies(relation, condition)
    should_be_on = isolation.owner is not None
    if relation.has_row_security is not should_be_on:
        state = "off" if should_be_on else "on"
        verb = "ENABLE" if should_be_on else "DISABLE"
        what = f"row-level security is {state} on {relation.name}"
        yield Difference(
            what,
            f"ALTER TABLE {relation} {verb} ROW LEVEL SECURITY",
            is_repairable=True,
        )


def _other_policies(relation: Relation, condition: str | None) -> Difference:
    names = ", ".join(policy.name for policy in relation.policies) or "none"
    what = f"{relation.name} does not have the policy as described, but {names}"
    statements = [f"DROP POLICY {quoted(p.name)} ON {relation}" for p in relation.policies]
    if condition:
        # A policy of this name may exist for another role.
        statements.append(f"DROP POLICY IF EXISTS {POLICY} ON {relation}")
        statements.append(
            f"CREATE POLICY {POLICY} ON {relation} TO {ROLE} "
            f"USING {condition} WITH CHECK {condition}"
        )
    return Difference(what, "; ".join(statements), is_repairable=True)


def _of_rights(
    relation: Relation,
    isolation: TableIsolation,
) -> Iterator[Difference]:
    # A column of a later revision than the database's is not there yet.
    columns = {f"({quoted(column)})" for column in relation.columns}
    wanted = set()
    for right in isolation.rights:
        column = right.partition(" ")[2]
        if not column or column in columns:
            wanted.add(right)
    of_public = relation.rights_of("")
    actual = relation.rights_of(ROLE) | of_public
    if actual == wanted:
        return
    clauses = []
    if wanted - actual:
        clauses.append(f"may not {', '.join(sorted(wanted - actual))}")
    if actual - wanted:
        clauses.append(f"may {', '.join(sorted(actual - wanted))}")
    what = f"{ROLE} {' and '.join(clauses)} on {relation.name}"
    grantees = f"PUBLIC, {ROLE}" if of_public - wanted else ROLE
    sql = _revocation(relation, grantees)
    if wanted:
        sql += f"; GRANT {', '.join(sorted(wanted))} ON {relation} TO {ROLE}"
    yield Difference(what, sql, is_repairable=True)


def _of_other_relation(relation: Relation) -> Iterator[Difference]:
    if relation.is_of_extension or not relation.is_in_usable_schema:
        return
    of_public = relation.rights_of("")
    rights = relation.rights_of(ROLE) | of_public
    if not rights or _is_limited_to_own_rows(relation, rights):
        return
    what = f"{ROLE} may {', '.join(sorted(rights))} on {relation}, without a policy for own rows"
    if of_public:  # others may need it
        yield Difference(what, _revocation(relation, f"PUBLIC, {ROLE}"))
    else:
        yield Difference(what, _revocation(relation, ROLE), is_repairable=True)


def _revocation(relation: Relation, grantees: str) -> str:
    """Return the SQL that takes all rights from the grantees, whoever has granted them."""
    # The owner's REVOKE takes back only what the owner has granted.
    statements = [
        f"REVOKE GRANT OPTION FOR ALL ON {relation} FROM {quoted(grantor)} CASCADE"
        for grantor in relation.other_grantors
    ]
    return "; ".join([*statements, f"REVOKE ALL ON {relation} FROM {grantees} CASCADE"])


def _is_limited_to_own_rows(relation: Relation, rights: set[str]) -> bool:
    """Return whether the role is as safe there as on a table of the models.

    So are the tables of a newer release, and those that a later one will drop.
    """
    if relation.is_security_invoker:  # a view with the rights of whoever reads it
        return True
    if not relation.has_row_security:
        return False
    if any(right.partition(" (")[0] not in READ_AND_WRITE for right in rights):
        return False  # the policies do not apply to TRUNCATE, REFERENCES and TRIGGER
    for policy in relation.policies:
        for condition in (policy.using, policy.check):
            if policy.is_permissive and condition and not _OWN_ROWS.fullmatch(condition):
                return False
    return True
