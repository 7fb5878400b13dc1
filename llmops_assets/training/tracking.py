"""Metrics to an MLflow run that someone else opened and named in MLFLOW_TRACKING_URI and MLFLOW_RUN_ID."""

import os
import sys
import time
from typing import Any


class MlflowRun:
    """Writes metrics of one run. A tracking server that is away costs its metrics, not hours of training."""

    def __init__(self, client: Any, run_id: str) -> None:
        self.failures = 0
        self._client = client
        self._run_id = run_id

    @classmethod
    def from_environment(cls) -> "MlflowRun | None":
        """Return the run that the environment names, or None. MLflow is imported only if there is one."""
        uri, run_id = os.environ.get("MLFLOW_TRACKING_URI"), os.environ.get("MLFLOW_RUN_ID")
        if not uri or not run_id:
            return None
        from mlflow.tracking import MlflowClient

        return cls(MlflowClient(tracking_uri=uri), run_id)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Log `metrics` at `step`. A failure is counted in `failures` and said once on stderr."""
        from mlflow.entities import Metric
        from mlflow.exceptions import MlflowException

        now = int(time.time() * 1000)
        try:
            self._client.log_batch(
                self._run_id, metrics=[Metric(key, value, now, step) for key, value in metrics.items()]
            )
        except MlflowException as error:
            if not self.failures:
                print(f"MLflow does not take metrics ({error}); training goes on", file=sys.stderr, flush=True)
            self.failures += 1
