"""The ways to train the lane's one stage: the bare worker, one Dagster process, and the queue, daemon and launcher."""

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from pydantic import ValidationError

from benchmarks.lane import BUILD_JOB, LOCATION, NAME, STAGE_ASSET, STEP, WORKSPACE, Lane, ask, materialize_command
from benchmarks.timeline import Timeline, TrainingFailed
from llmops_assets.resources.defaults import default_resources
from llmops_assets.resources.tracking import Tracking
from llmops_assets.resources.trainer import Trainer
from llmops_assets.training.job import TrainingJob

_PATIENCE_SECONDS = 1200
_POLL_SECONDS = 0.2
_LAUNCH_RUN = """
mutation($params: ExecutionParams!) {
  launchRun(executionParams: $params) { __typename ... on LaunchRunSuccess { run { runId } } }
}
"""


class Trainings:
    """Trains the stage in each of the ways, every time from the start. All raise TrainingFailed."""

    def __init__(self, lane: Lane, instance: dg.DagsterInstance, steps: int) -> None:
        self._lane, self._instance, self._steps = lane, instance, steps
        self._job: TrainingJob | None = None
        self._cpu_seconds_before = self._cpu_seconds = 0.0

    def warm_up(self) -> None:
        """Train once through Dagster, and keep the job file that it gives to its worker for the bare ones."""
        self._lane.forget_adapter()
        process = self._start("warm-up", materialize_command(STAGE_ASSET))
        while self._job is None and process.poll() is None:
            # The folder goes when the artifact is published.
            self._job = next(
                (job for file in self._lane.slots.glob("*/scratch/job.json") if (job := _read(file))), None
            )
            time.sleep(0.1)
        self._finish("warm-up", process)

    def bare(self, _: str | None = None) -> Timeline:
        """Run the command that the product starts for this stage, on the same job file, by itself."""
        return self._worker("bare", {})

    def tracked(self, _: str | None = None) -> Timeline:
        """The same with metrics to an MLflow run, which was opened before."""
        tracking = default_resources()["tracking"]
        assert isinstance(tracking, Tracking)
        tags = {"dagster/asset_key": f"{NAME}/{STAGE_ASSET}"}
        with tracking.training_run(experiment=NAME, name="bare", dagster_run_id="none", tags=tags, params={}) as run:
            return self._worker("tracked", run.environment)

    def materialize(self, _: str | None = None) -> Timeline:
        """`dagster asset materialize`: one process, which no queue and no launcher sees."""
        self._lane.forget_adapter()
        requested = self._request()
        self._finish("materialize", self._start("materialize", materialize_command(STAGE_ASSET)))
        return self._of_run(requested, self._instance.get_runs(limit=1)[0].run_id)

    def job_launch(self, _: str | None = None) -> Timeline:
        """`dagster job launch`, which queues the run for the daemon; of the job's assets, the adapter alone."""
        self._lane.forget_adapter()
        run_id = str(uuid.uuid4())
        command = ["job", "launch", "-w", str(WORKSPACE), "-j", BUILD_JOB, "--op-selection", STEP, "--run-id", run_id]
        requested = self._request()
        self._finish("job-launch", self._start("job-launch", [sys.executable, "-m", "dagster", *command]))
        self._await_end(run_id)
        return self._of_run(requested, run_id)

    def button(self, url: str | None) -> Timeline:
        """The button Materialize of the UI, through the same API."""
        assert url is not None, "the button is on a page of the servers"
        self._lane.forget_adapter()
        selector = {
            "repositoryLocationName": LOCATION,
            "repositoryName": "__repository__",
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": [NAME, STAGE_ASSET]}],
        }
        requested = self._request()
        answer = ask(url, _LAUNCH_RUN, {"params": {"selector": selector, "mode": "default", "runConfigData": {}}})
        launched = (answer.get("data") or {}).get("launchRun") or {}
        if "run" not in launched:
            raise TrainingFailed(f"{url}: launchRun answered {json.dumps(answer)[:2000]}")
        run_id = launched["run"]["runId"]
        self._await_end(run_id)
        return self._of_run(requested, run_id)

    def _worker(self, name: str, environment: dict[str, str]) -> Timeline:
        if self._job is None:
            raise TrainingFailed(f"the warm-up left no job file under {self._lane.slots}")
        self._lane.forget_adapter()
        folder = self._lane.root / name
        shutil.rmtree(folder, ignore_errors=True)
        scratch = folder / "scratch"
        scratch.mkdir(parents=True)
        job = self._job.model_copy(update={"output_dir": folder / "output", "checkpoint_dir": scratch})
        file = scratch / "job.json"
        file.write_text(job.model_dump_json(indent=2), encoding="utf-8")
        # The product's own command and environment, so that what is compared is what is around them.
        command = [*Trainer()._training_command(job), str(file)]
        variables = {"PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false", **environment}
        requested = self._request()
        self._finish(name, self._start(name, command, variables))
        return Timeline.of_command(self._lane.clock, self._steps, requested, time.time(), self._cpu_seconds)

    def _of_run(self, requested: float, run_id: str) -> Timeline:
        clock, cpu_seconds = self._lane.clock, self._cpu_seconds
        return Timeline.of_run(clock, self._steps, requested, cpu_seconds, self._instance, run_id)

    def _request(self) -> float:
        """Return the time at which a training is asked for, once everything is noted that is known before it."""
        self._cpu_seconds, self._cpu_seconds_before = 0.0, self._lane.cpu_seconds()
        return time.time()

    def _start(self, name: str, command: list[str], variables: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        with self._log(name).open("ab") as stream:
            return subprocess.Popen(
                command,
                cwd=self._lane.root,
                env=os.environ | (variables or {}),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _finish(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self._wait(lambda: process.poll() is not None, f"{name} to end; its output is in {self._log(name)}")
        if process.returncode:
            raise TrainingFailed(f"{name} ended with {process.returncode}; its output is in {self._log(name)}")

    def _await_end(self, run_id: str) -> None:
        def ended() -> bool:
            run = self._instance.get_run_by_id(run_id)
            return run is not None and run.is_finished

        self._wait(ended, f"run {run_id} to end; logs are in {self._lane.logs}")

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        """Wait until `done`, and note the CPU seconds when the clock shows the first step."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not done():
            if not self._cpu_seconds and self._lane.clock.is_file():
                self._cpu_seconds = self._lane.cpu_seconds() - self._cpu_seconds_before
            if time.monotonic() > deadline:
                raise TrainingFailed(f"waited {_PATIENCE_SECONDS} s for {what}")
            time.sleep(_POLL_SECONDS)

    def _log(self, name: str) -> Path:
        return self._lane.logs / f"{name}.log"


@dataclass(frozen=True)
class Way:
    """One row of the tables. `served`: takes its turn while `dagster dev` runs, and is given its address."""

    title: str
    train: Callable[[Trainings, str | None], Timeline]
    served: bool = False


BARE = "bare"
WAYS = {
    BARE: Way("bare worker (torchrun)", Trainings.bare),
    "tracked": Way("bare worker with MLflow", Trainings.tracked),
    "materialize": Way("`dagster asset materialize`", Trainings.materialize),
    "job-launch": Way("`dagster job launch`, queue and daemon", Trainings.job_launch, served=True),
    "button": Way("Materialize in the UI, queue and daemon", Trainings.button, served=True),
}


def _read(file: Path) -> TrainingJob | None:
    """The job in a file that is being written, or has just been removed, or None."""
    try:
        return TrainingJob.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None
