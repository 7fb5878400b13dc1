"""Bringing the feedback database to the schema that this code knows, by the alembic revisions shipped beside it."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError

from llmops_assets.feedback.database import Database
from llmops_assets.feedback.errors import StoreUnavailable


def upgrade_to_head(database: Database) -> None:
    """Apply the missing revisions in one transaction; a database at head is left alone.

    Raises `StoreUnavailable` when the database was written by a newer version of this package.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with database.first_open() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise StoreUnavailable(
                f"feedback store {database.name}: {error}. The database was probably written by a newer version of "
                "llmops_assets; update the package, or point to another database."
            ) from error
