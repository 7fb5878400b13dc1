"""The feedback suite runs on both databases: every test that takes `store` or `store_url` runs once on each."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from llmops_assets.feedback.store import FeedbackStore
from llmops_assets_tests.feedback.ballot_box import PEPPER, register_lane
from llmops_assets_tests.feedback.postgres_server import running_server, server_binaries, unprivileged_user

_names = itertools.count()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL pattern of a real server, with `{database}` to fill in."""
    binaries, user = server_binaries(), unprivileged_user()
    if binaries is None or user is None:
        pytest.skip("PostgreSQL's server binaries (Debian: postgresql) or an account to run them are missing")
    with running_server(binaries, user) as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'feedback.db'}"


@pytest.fixture
def empty_postgres_url(postgres_url: str) -> str:
    name = f"feedback_{next(_names)}"
    admin = create_engine(
        postgres_url.format(database="postgres").replace("postgresql://", "postgresql+psycopg://"),
        isolation_level="AUTOCOMMIT",
    )
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return postgres_url.format(database=name)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty database, first SQLite, then PostgreSQL."""
    return request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "empty_postgres_url")


@pytest.fixture
def store(store_url: str) -> Iterator[FeedbackStore]:
    """A store with versions v1.0 and v1.1 of the lane `python_docs`."""
    with FeedbackStore(store_url, rater_pepper=PEPPER) as opened:
        register_lane(opened)
        yield opened
