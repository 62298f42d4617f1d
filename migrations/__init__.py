"""The database's schema, one numbered revision after the other.

`make revision NAME=…` writes the next from the models. It needs no SQL for row-level security and
rights: `isolation.py` makes them after the revisions, whenever a migration runs.

A revision that takes something away comes a release after the one whose code stopped using it:
while a deploy is under way, and after a rollback, the old code meets the new schema (expand first,
contract later).

A revision runs in a transaction. What it locks stays locked until its end, so it does one thing to
one table. An index on a table with many rows is built concurrently, which keeps nobody waiting, in
a revision that does nothing else:

    def upgrade() -> None:
        concurrently = {"postgresql_concurrently": True}
        with op.get_context().autocommit_block():
            # It waits for older transactions, and nobody waits for it.
            op.execute("SET lock_timeout = '10min'")
            op.drop_index("todos_by_due_at", "todos", if_exists=True, **concurrently)
            op.create_index("todos_by_due_at", "todos", ["user_id", "due_at"], **concurrently)

An attempt that fails leaves an INVALID index, which the next attempt drops.
"""
