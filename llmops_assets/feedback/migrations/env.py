"""Run by alembic for each command: applies revisions on the connection that the caller holds, inside its transaction.

To draft a new revision, call `alembic.command.revision(config, message, autogenerate=True)` with a config like the one
of `feedback/migrate.py`.
"""

from alembic import context

from llmops_assets.feedback.schema import ALEMBIC_VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=ALEMBIC_VERSION_TABLE,
    compare_type=True,
    render_as_batch=True,
    # SQLite can roll DDL back when the transaction was begun by hand, as `Database` does: no half-built schema.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
