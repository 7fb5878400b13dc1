"""Where the stages of corpora run, as a resource: it changes how long a build takes, never what comes out."""

import dagster as dg
from pydantic import Field

from llmops_assets.data.workers import Workers, workers_named


class DataWorkers(dg.ConfigurableResource):
    """The workers that `LLMOPS_DATA_WORKERS` names."""

    name: str = Field(description="`local`, `processes:8` or `ray:64`.")

    def open(self) -> Workers:
        """Return the workers; raises UnknownWorkersError."""
        return workers_named(self.name)
