"""When a training passed which point, from the request to its end: from the clock inside it and Dagster's event log."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any, Self

import dagster as dg

from benchmarks.clocked import FIRST_MEASURED_STEP
from llmops_assets.errors import LlmopsError


class TrainingFailed(LlmopsError):
    """A training did not reach its last step; the message says where its output is."""


@dataclass(frozen=True)
class Timeline:
    """Moments in seconds since the request, None where a way has no such moment; and what it cost.

    Attributes:
        recorded: Dagster has recorded the run, which may now wait in its queue.
        launched: The daemon has taken it from the queue and hands it to the run launcher.
        run_started: The run worker has loaded Dagster and the graph.
        step_started: The step begins, so the pool had a slot.
        torchrun_started: The product starts its training command; for the bare worker, about 0.
        rank_started: torchrun starts the process that trains.
        first_step: The end of the first optimizer step.
        ended: The end of the run, or of the bare command.
        first_step_cpu_seconds: CPU seconds of all processes of the lane, servers included, from request to first step.
        step_seconds: Wall seconds a step, after step 5.
        step_cpu_seconds: The same in CPU seconds of the training process.
    """

    recorded: float | None
    launched: float | None
    run_started: float | None
    step_started: float | None
    torchrun_started: float
    rank_started: float
    first_step: float
    ended: float
    first_step_cpu_seconds: float
    step_seconds: float
    step_cpu_seconds: float
    losses: list[float]

    @classmethod
    def of_command(cls, clock: Path, steps: int, requested: float, ended: float, cpu_seconds: float) -> Self:
        """Return the times of a bare command; `requested` and `ended` in seconds since the epoch.

        Raises TrainingFailed.
        """
        return cls(
            recorded=None,
            launched=None,
            run_started=None,
            step_started=None,
            **_clocked(clock, steps, requested),
            ended=ended - requested,
            first_step_cpu_seconds=cpu_seconds,
        )

    @classmethod
    def of_run(
        cls, clock: Path, steps: int, requested: float, cpu_seconds: float, instance: dg.DagsterInstance, run_id: str
    ) -> Self:
        """Return the times of a Dagster run that has ended.

        Raises TrainingFailed, also for a run that did not succeed.
        """
        record = instance.get_run_record_by_id(run_id)
        assert record is not None, f"run {run_id} was waited for, so it is recorded"
        run = record.dagster_run
        if not run.is_success or record.end_time is None:
            raise TrainingFailed(f"run {run_id} ended {run.status.value}; run `dagster debug export` on it")
        first: dict[dg.DagsterEventType, float] = {}
        for entry in instance.all_logs(run_id):
            if entry.dagster_event is not None:
                first.setdefault(entry.dagster_event.event_type, entry.timestamp - requested)
        return cls(
            recorded=record.create_timestamp.timestamp() - requested,
            launched=first.get(dg.DagsterEventType.RUN_STARTING),
            run_started=first[dg.DagsterEventType.RUN_START],
            step_started=first[dg.DagsterEventType.STEP_START],
            **_clocked(clock, steps, requested),
            ended=record.end_time - requested,
            first_step_cpu_seconds=cpu_seconds,
        )


# What happens up to each moment of a Timeline, from the one before it.
PARTS = {
    "recorded": "request to recorded run: command line or UI, code location",
    "launched": "in the queue, until the daemon hands it to the run launcher",
    "run_started": "run worker: process, Dagster, the graph",
    "step_started": "resources and pool slot, until the step starts",
    "torchrun_started": "the step: verifies its inputs, opens the MLflow run, starts torchrun",
    "rank_started": "torchrun, until it starts the rank",
    "first_step": "the rank: libraries, model, rows, first step",
}


def parts(runs: list[Timeline]) -> dict[str, float]:
    """Return the median seconds of each part that these runs have, by its key in PARTS."""
    found: dict[str, list[float]] = {}
    for run in runs:
        before = 0.0
        for name in PARTS:
            moment = getattr(run, name)
            if moment is not None:
                found.setdefault(name, []).append(moment - before)
                before = moment
    return {name: median(seconds) for name, seconds in found.items()}


def figures(runs: list[Timeline]) -> dict[str, float]:
    """Return the median of every moment and cost that these runs have, by field name."""
    names = [field.name for field in fields(Timeline) if field.name != "losses"]
    return {name: median(getattr(run, name) for run in runs) for name in names if getattr(runs[0], name) is not None}


def _clocked(clock: Path, steps: int, requested: float) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(clock.read_text(encoding="utf-8")) if clock.is_file() else {"steps": []}
    noted = {int(entry["step"]): entry for entry in found["steps"]}
    if steps not in noted:
        raise TrainingFailed(f"{clock}: the training noted {max(0, len(noted) - 1)} of {steps} steps")
    since = min(FIRST_MEASURED_STEP, steps - 1)
    counted = steps - since
    return {
        "torchrun_started": found["parent_started"] - requested,
        "rank_started": found["process_started"] - requested,
        "first_step": noted[1]["time"] - requested,
        "step_seconds": (noted[steps]["time"] - noted[since]["time"]) / counted,
        "step_cpu_seconds": (noted[steps]["cpu"] - noted[since]["cpu"]) / counted,
        "losses": list(found["losses"].values()),
    }
