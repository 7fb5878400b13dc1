"""Metrics to an MLflow run that someone else opened and named in MLFLOW_TRACKING_URI and MLFLOW_RUN_ID."""

import os
import queue
import re
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

# A row that finds so many waiting is lost: the server has been away for as long as they took to gather.
_WAITING_ROWS = 10_000
_METRICS_PER_REQUEST = 1000
_SECONDS_TO_FINISH = 20.0
# MLflow's own seven retries of two minutes each would hold back the end of a run for a server that is away.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class Tracker(Protocol):
    """What shows the figures of a run while it trains. Neither call may end the run or hold it up."""

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Take `metrics` as they are after `step`."""
        ...

    def close(self) -> None:
        """Finish what is under way; nothing is logged afterwards."""
        ...


class MlflowRun:
    """Writes metrics of one run, from a thread of its own: a tracking server that is slow does not slow the training,
    and one that is away costs its metrics alone.
    """

    def __init__(self, client: Any, run_id: str) -> None:
        self.failures = 0
        self._client = client
        self._run_id = run_id
        self._rows: queue.Queue[list[Any] | None] = queue.Queue(_WAITING_ROWS)
        self._writer = threading.Thread(target=self._write, name="mlflow-metrics", daemon=True)
        self._writer.start()

    @classmethod
    def from_environment(cls) -> "MlflowRun | None":
        """Return the run that the environment names, or None. MLflow is imported only if there is one."""
        uri, run_id = os.environ.get("MLFLOW_TRACKING_URI"), os.environ.get("MLFLOW_RUN_ID")
        if not uri or not run_id:
            return None
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient

        return cls(MlflowClient(tracking_uri=uri), run_id)

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Hand over `metrics` at `step`; returns at once. What is lost is counted in `failures`, and said once."""
        self._hand_over([(step, metrics)])

    def replay(self, rows: Sequence[dict[str, float]]) -> None:
        """Hand over rows of metrics.jsonl that an earlier process logged; returns at once.

        They are new to this run: every attempt at a training opens a run of its own, and one that is resumed would
        otherwise lack the curve before its first step. They get the time of now, for the rows tell none.
        """
        self._hand_over([(int(row["step"]), {k: v for k, v in row.items() if k != "step"}) for row in rows])

    def _hand_over(self, rows: Sequence[tuple[int, dict[str, float]]]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        try:
            self._rows.put_nowait(
                [Metric(k, float(v), now, step) for step, figures in rows for k, v in figures.items()]
            )
        except queue.Full:
            self._lost(len(rows), "it takes them too slowly")

    def close(self) -> None:
        """Wait for what was handed over, 20 seconds at most; a server that is away holds up no end of a run."""
        try:
            self._rows.put_nowait(None)
        except queue.Full:
            return
        self._writer.join(_SECONDS_TO_FINISH)

    def _write(self) -> None:
        ended = False
        while not ended:
            rows = [self._rows.get()]
            while not self._rows.empty():
                rows.append(self._rows.get())
            ended = None in rows
            batch = [row for row in rows if row is not None]
            metrics = [metric for row in batch for metric in row]
            try:
                for first in range(0, len(metrics), _METRICS_PER_REQUEST):
                    self._client.log_batch(self._run_id, metrics=metrics[first : first + _METRICS_PER_REQUEST])
            except Exception as error:  # whatever a store, a proxy or a network may raise, it is not worth the training
                self._lost(len(batch), without_credentials(str(error)))

    def _lost(self, rows: int, reason: str) -> None:
        if not self.failures:
            print(f"MLflow does not take metrics ({reason}); training goes on", file=sys.stderr, flush=True)
        self.failures += rows


def without_credentials(text: str) -> str:
    """Return `text` with user and password taken out of the addresses in it."""
    return re.sub(r"://[^/@\s]+@", "://***@", text)
