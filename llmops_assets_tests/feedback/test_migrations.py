"""The revisions build exactly the schema of the code, on both databases, forwards and back."""

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect, text

from llmops_assets.feedback import migrations, schema
from llmops_assets.feedback.database import Database
from llmops_assets.feedback.errors import StoreUnavailable
from llmops_assets.feedback.migrate import upgrade_to_head
from llmops_assets.feedback.store import FeedbackStore
from llmops_assets_tests.feedback.ballot_box import LANE, PEPPER, register_lane, vote


@pytest.fixture
def database(store_url: str):
    opened = Database(store_url)
    upgrade_to_head(opened)
    yield opened
    opened.close()


def test_autogenerate_finds_nothing_to_add(database: Database):
    with database.write() as connection:
        options = {"version_table": schema.ALEMBIC_VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, schema.metadata) == []


def test_autogenerate_would_notice_a_missing_column(database: Database):
    with database.write() as connection:
        connection.execute(text("ALTER TABLE rater DROP COLUMN erased_at"))
        context = MigrationContext.configure(connection, opts={"version_table": schema.ALEMBIC_VERSION_TABLE})
        assert [change[0] for change in compare_metadata(context, schema.metadata)] == ["add_column"]


def test_the_checks_of_the_code_are_in_the_database(database: Database):
    with database.read() as connection:
        for table in schema.metadata.sorted_tables:
            wanted = {str(check.name) for check in table.constraints if isinstance(check, CheckConstraint)}
            found = {str(check["name"]) for check in inspect(connection).get_check_constraints(table.name)}
            assert found == wanted, table.name


def test_downgrade_removes_everything(database: Database):
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert inspect(connection).get_table_names() == [schema.ALEMBIC_VERSION_TABLE]
    upgrade_to_head(database)
    with database.read() as connection:
        assert set(schema.metadata.tables) < set(inspect(connection).get_table_names())


def test_opening_again_keeps_the_votes(store_url: str):
    with FeedbackStore(store_url, rater_pepper=PEPPER) as store:
        register_lane(store)
        vote(store, "left")
    with FeedbackStore(store_url, rater_pepper=PEPPER) as store:
        assert store.count_usable(LANE, after_seq=0).new_usable == 1


def test_a_database_of_a_newer_package_is_refused(database: Database, store_url: str):
    with database.write() as connection:
        connection.execute(text(f"UPDATE {schema.ALEMBIC_VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(StoreUnavailable, match="newer version of llmops_assets"):
        FeedbackStore(store_url)


def test_a_failed_migration_leaves_no_half_built_schema(store_url: str):
    database = Database(store_url)
    with database.first_open() as connection:
        connection.execute(text("CREATE TABLE vote (unrelated INTEGER)"))
    with pytest.raises(Exception, match="already exists"):
        upgrade_to_head(database)
    with database.read() as connection:
        assert inspect(connection).get_table_names() == ["vote"]
    database.close()
