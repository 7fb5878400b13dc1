"""The alembic environment of the feedback store; its revisions are applied by `feedback/migrate.py` on every open."""
