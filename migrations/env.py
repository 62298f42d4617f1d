"""What Alembic runs for each command.

See https://alembic.sqlalchemy.org/en/latest/tutorial.html#editing-the-ini-file.
"""

from alembic import context

from todo_api.models.tables import Todo

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Todo.metadata,
    compare_server_default=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
