"""Run by Alembic for every migration: on the connection it was given, in one transaction."""

from alembic import context

from storage.catalogue import aliases, inbox, items, media, outbox, traces  # noqa: F401  # they define the tables
from storage.catalogue.base import Base
from storage.moderation import store  # noqa: F401  # it imports every table of moderation

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite changes a column by copying the table
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
