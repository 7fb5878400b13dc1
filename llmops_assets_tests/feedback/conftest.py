"""The feedback suite runs on both databases: every test that takes `store` or `store_url` runs once on each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops_assets.feedback.store import FeedbackStore
from llmops_assets_tests.feedback.ballot_box import PEPPER, register_lane


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'feedback.db'}"


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
