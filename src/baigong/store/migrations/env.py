"""Alembic's entry: runs migrations on the connection that the database hands in."""

from alembic import context

from baigong.store import hub_tables  # noqa: F401  they belong to the same metadata
from baigong.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
