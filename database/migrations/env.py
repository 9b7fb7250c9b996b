"""Alembic environment: the caller hands over an open connection (`database.migrate`); there is no ini file and no URL here."""

from alembic import context

from database.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    compare_type=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
