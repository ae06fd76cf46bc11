"""What Alembic runs: the revisions that are missing, on the connection and in the transaction of whoever asked."""

from alembic import context

from compat.store.migrations import TABLE

context.configure(connection=context.config.attributes["connection"], version_table=TABLE)
context.run_migrations()
