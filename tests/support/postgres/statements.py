"""Checks of SQL: whether each part of a statement is limited to the rows of one user."""

from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlmodel import SQLModel

from todo_api.database.isolation import owner_of

FUNCTIONS = {"clock_timestamp", "set_config"}
"""The functions that statements may call, beside those of the SQL standard.

One of a revision is kept by its name here. It has to limit its rows by `app.user_id` itself.
"""

_PARTS = (exp.Select, exp.Update, exp.Delete, exp.Insert)


def unlimited(message: str, user_id: str) -> list[str]:
    """Return the parts of a message to PostgreSQL that are not limited to the rows of this user.

    Each reference to a table with an owner needs the condition `owner = user_id` in the WHERE or ON
    of its own SELECT, UPDATE or DELETE, whatever other conditions there are. Each INSERT has to
    write the user's id. Something that no model describes is not limited either, nor is a function
    that is not in `FUNCTIONS`.
    """
    found = []
    for statement in sqlglot.parse(message, dialect="postgres"):
        if not isinstance(statement, (exp.Query, *_PARTS)):
            found.append(f"a statement of another kind: {statement}")
            continue
        for function in statement.find_all(exp.Anonymous):
            if function.name not in FUNCTIONS or isinstance(function.parent, exp.Dot):
                found.append(f"a function that is not in FUNCTIONS: {function.name}")
        for table in statement.find_all(exp.Table):
            is_function = isinstance(table.this, exp.Func) and not table.db
            if is_function or _is_defined_by_with(table):
                continue
            part = table.find_ancestor(*_PARTS)
            if part is None or not _is_limited(table, part, user_id):
                found.append(f"{table.sql('postgres')} in: {(part or statement).sql('postgres')}")
    return found


def _is_limited(table: exp.Table, part: exp.Expr, user_id: str) -> bool:
    schema = f"{table.db}." if table.db not in ("", "public") else ""
    model = SQLModel.metadata.tables.get(f"{schema}{table.name}")
    if model is None:
        return False
    owner = owner_of(model)
    if owner is None:
        return True
    if isinstance(part, exp.Insert):
        return _writes_owner(part, owner, user_id)
    if isinstance(part, exp.Update) and not _keeps_owner(part.expressions, owner, user_id):
        return False
    names = {table.alias_or_name}
    if _tables_of(part) == [table]:
        names.add("")  # the only table needs no name before its columns
    return any(
        _value_of(condition, {(name, owner) for name in names}) == user_id
        for condition in _conditions(part, table)
    )


def _is_defined_by_with(table: exp.Table) -> bool:
    """Return whether the name is that of a common table expression, which is checked by itself."""
    if table.db:
        return False
    inside: set[int] = set()
    ancestor: exp.Expr | None = table
    while ancestor is not None:
        inside.add(id(ancestor))
        with_ = ancestor.args.get("with_") or exp.With(expressions=[])
        for cte in with_.expressions:
            is_inside = id(cte) in inside
            if cte.alias == table.name and (not is_inside or with_.recursive):
                return True
            if is_inside:
                break  # it can refer only to those before it
        ancestor = ancestor.parent
    return False


def _tables_of(part: exp.Expr) -> list[exp.Table]:
    return [table for table in part.find_all(exp.Table) if table.find_ancestor(*_PARTS) is part]


def _conditions(part: exp.Expr, table: exp.Table) -> Iterator[exp.Expr]:
    """Yield the conditions that each row of the table has to meet."""
    where = part.args.get("where")
    if where:
        yield from _conjuncts(where.this)
    for join in part.find_all(exp.Join):
        is_joined_table = any(each is table for each in join.this.find_all(exp.Table))
        limits = {"LEFT": is_joined_table, "RIGHT": not is_joined_table, "FULL": False}
        on = join.args.get("on")
        if on and join.find_ancestor(*_PARTS) is part and limits.get(join.side, True):
            yield from _conjuncts(on)


def _conjuncts(condition: exp.Expr) -> Iterator[exp.Expr]:
    condition = condition.unnest()
    if isinstance(condition, exp.And):
        yield from _conjuncts(condition.left)
        yield from _conjuncts(condition.right)
    else:
        yield condition


def _value_of(condition: exp.Expr, columns: set[tuple[str, str]]) -> str | None:
    """Return the text that the condition requires one of these columns to be equal to."""
    if isinstance(condition, exp.EQ):
        left = _plain(condition.left)
        right = _plain(condition.right)
        for column, value in ((left, right), (right, left)):
            is_column = isinstance(column, exp.Column) and (column.table, column.name) in columns
            if is_column and isinstance(value, exp.Literal) and value.is_string:
                return str(value.this)
    return None


def _plain(value: exp.Expr) -> exp.Expr:
    while isinstance(value, exp.Cast | exp.Paren | exp.Alias):
        value = value.this
    return value


# --- what is written ------------------------------------------------------------------------------


def _keeps_owner(assignments: list[exp.Expr], owner: str, user_id: str) -> bool:
    values = [each.expression for each in assignments if each.this.name == owner]
    return all(_plain(value) == exp.Literal.string(user_id) for value in values)


def _writes_owner(insert: exp.Insert, owner: str, user_id: str) -> bool:
    conflict = insert.args.get("conflict")
    if conflict and conflict.expressions:  # DO UPDATE
        keys = [key.this.name for key in conflict.args["conflict_keys"] or []]
        if owner not in keys or not _keeps_owner(conflict.expressions, owner, user_id):
            return False
    columns = [column.name for column in insert.this.expressions]
    if owner not in columns:
        return False
    position = columns.index(owner)
    values = _written(insert.expression, position)
    return bool(values) and all(value == user_id for value in values)


def _written(source: exp.Expr | None, position: int) -> list[str | None]:
    """Return what an INSERT writes into the column at this position, None for an unknown value."""
    if isinstance(source, exp.Values):
        values = [_plain(row.expressions[position]) for row in source.expressions]
        return [value.this if isinstance(value, exp.Literal) else None for value in values]
    if not isinstance(source, exp.Select):
        return [None]
    value = _plain(source.expressions[position])
    if isinstance(value, exp.Literal):
        return [value.this]
    if not isinstance(value, exp.Column):
        return [None]
    rows = source.args["from_"].this if source.args.get("from_") else None
    if isinstance(rows, exp.Values):
        return _written(rows, [each.name for each in rows.args["alias"].columns].index(value.name))
    where = source.args.get("where")
    conditions = list(_conjuncts(where.this)) if where else []
    found = [_value_of(condition, {(value.table, value.name)}) for condition in conditions]
    return [next((text for text in found if text is not None), None)]
