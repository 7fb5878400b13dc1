"""A training process's progress as a handful of Dagster events; every line of it goes to the run's log."""

import json
from pathlib import Path

import dagster as dg

EVENTS_PER_TRAINING = 10


class ProgressReporter:
    """Passes the worker's lines on and turns some rows of its metrics file into asset observations.

    Each Dagster event is a database row, so a training writes at most about `EVENTS_PER_TRAINING` of them, however
    many steps it has; the full curve is in metrics.jsonl and MLflow.
    """

    def __init__(self, context: dg.AssetExecutionContext, metrics_file: Path, *, total_steps: int) -> None:
        self._context = context
        self._metrics_file = metrics_file
        self._every = max(1, total_steps // EVENTS_PER_TRAINING)
        self._next_step = self._every

    def on_line(self, line: str) -> None:
        """Take one line of the worker's output."""
        print(line, flush=True)
        if line.startswith("step "):
            self._observe()

    def _observe(self) -> None:
        row = metrics_rows(self._metrics_file)[-1]
        if row["step"] < self._next_step:
            return
        self._next_step = int(row["step"]) + self._every
        self._context.log_event(
            dg.AssetObservation(
                asset_key=self._context.asset_key,
                description=f"training, step {row['step']:.0f}",
                metadata={f"progress/{key}": value for key, value in row.items()},
            )
        )


def metrics_rows(metrics_file: Path) -> list[dict[str, float]]:
    """Return the complete rows of a metrics.jsonl, oldest first; a line that is still being written is left out."""
    return [json.loads(line) for line in metrics_file.read_text().split("\n")[:-1] if line]
