"""The feedback store as a Dagster resource."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from pydantic import Field

from llmops_assets.feedback.store import FeedbackStore


class FeedbackResource(dg.ConfigurableResource):
    """Opens the store of battles and votes; SQLite by default, PostgreSQL by URL."""

    url: str = Field(description="SQLAlchemy URL, e.g. postgresql+psycopg://user@host/feedback.")

    @contextmanager
    def open(self) -> Iterator[FeedbackStore]:
        """Yield an open store, upgraded to the newest schema, and close it afterwards."""
        store = FeedbackStore(self.url)
        try:
            yield store
        finally:
            store.close()
