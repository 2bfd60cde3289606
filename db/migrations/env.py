"""Alembic's entry: the connection comes from db/migrate.py, inside whose transaction all of it runs."""

from alembic import context

from db.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
