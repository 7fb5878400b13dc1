"""The demo: a real daemon, the build job through the launcher, simulated votes, a DPO run that the sensor starts."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import dagster as dg

from llmops_assets.assets.chain_report import lane_table
from llmops_assets.assets.simulated_votes import simulate_votes
from llmops_assets.automation.dpo_trigger import TriggerState
from llmops_assets.automation.jobs import dpo_job_name
from llmops_assets.automation.trigger_state import read_trigger_state
from llmops_assets.errors import LlmopsError
from llmops_assets.launchers.process import LOG_TAG
from llmops_assets.recipe import Recipe
from llmops_assets.resources.artifacts import ArtifactStore
from llmops_assets.resources.background_process import background_process
from llmops_assets.resources.defaults import artifact_store, feedback_resource
from llmops_assets.resources.process_tree import marked_processes
from llmops_assets.resources.trainer import Trainer
from llmops_assets.settings import dagster_ui_url, state_dir

_ROOT = Path(__file__).resolve().parent.parent
_POLL_SECONDS = 1.0
_SENSOR_PATIENCE_SECONDS = 180


class DemoFailed(LlmopsError):
    """A run of the demo did not end well; the message names the run and where its log is."""


def run_demo(recipe: Recipe) -> int:
    """Run `recipe` end to end and print its table; return the exit code.

    What is there already is reused: a second call trains nothing. Ctrl-C cancels the run under way, waits until its
    processes are gone, and leaves checkpoints from which the next call resumes.

    Raises:
        DemoFailed: a run failed; its step log says why.
    """
    started = time.monotonic()
    with dg.DagsterInstance.get() as instance, _daemon():
        try:
            _say(f"1/3 Build {recipe.name}: corpus, SFT set, CPT, SFT v1.0, reports, champion")
            _follow(instance, _launch(f"{recipe.name}_build"))
            if recipe.preferences is not None:
                _say("2/3 Votes: two samples of v1.0 a question, judged by the rater labelled `simulated`")
                _vote(instance, recipe, artifact_store())
                _say("3/3 The sensor sees the votes and starts the DPO run")
                _await_sensor(instance, recipe)
        except KeyboardInterrupt:
            _say("Cancelling; training writes a checkpoint first")
            _cancel_runs(instance)
            return 130
        except DemoFailed:
            print(f"\n{lane_table(instance, artifact_store(), recipe)}\n")
            raise
        print(f"\n{lane_table(instance, artifact_store(), recipe)}\n")
    print(f"Done in {time.monotonic() - started:.0f} s. Open next:")
    print(f"  make dev     the graph at {dagster_ui_url()}/asset-groups/, and MLflow beside it")
    print("  README.md    how a DPO run happens, and how to use a real base model")
    return 0


def _vote(instance: dg.DagsterInstance, recipe: Recipe, artifacts: ArtifactStore) -> None:
    with feedback_resource().open() as store:
        count = simulate_votes(instance, recipe, version=None, artifacts=artifacts, trainer=Trainer(), store=store)
        state = read_trigger_state(instance, store, recipe)
    print(f"{count} simulated votes in the store; {state.new_usable} usable pairs are new")


def _await_sensor(instance: dg.DagsterInstance, recipe: Recipe) -> None:
    """Follow the DPO runs that the sensor starts until no new preferences wait.

    Raises:
        DemoFailed: preferences wait, but the sensor starts no run within its patience.
    """
    followed: set[str] = set()
    patience = time.monotonic() + _SENSOR_PATIENCE_SECONDS
    while True:
        state = _trigger_state(instance, recipe)
        for run_id in set(state.runs_in_flight) - followed:
            followed.add(run_id)
            _follow(instance, run_id)
            patience = time.monotonic() + _SENSOR_PATIENCE_SECONDS
        minimum = recipe.preferences.minimum if recipe.preferences is not None else 0
        if not state.runs_in_flight and state.new_usable < minimum:
            print(f"{state.new_usable} of {minimum} new preferences: nothing to train")
            return
        if time.monotonic() > patience:
            raise DemoFailed(
                f"{state.new_usable} new preferences wait, but {recipe.name}_enough_preferences started no run of "
                f"{dpo_job_name(recipe)} in {_SENSOR_PATIENCE_SECONDS} s; its ticks are in the Dagster UI, the "
                f"daemon's log is {_daemon_log()}"
            )
        time.sleep(_POLL_SECONDS)


def _trigger_state(instance: dg.DagsterInstance, recipe: Recipe) -> TriggerState:
    with feedback_resource().open() as store:
        return read_trigger_state(instance, store, recipe)


def _launch(job: str) -> str:
    run_id = str(uuid.uuid4())
    command = ["-m", "dagster", "job", "launch", "-w", str(_ROOT / "workspace.yaml"), "-j", job, "--run-id", run_id]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=_ROOT)
    if done.returncode != 0:
        raise DemoFailed(f"`dagster {' '.join(command[2:])}` failed:\n{done.stderr.strip()}")
    return run_id


def _follow(instance: dg.DagsterInstance, run_id: str) -> None:
    """Print the log of a run as it grows, until the run has ended."""
    print(f"run {run_id} ({dagster_ui_url()}/runs/{run_id})")
    log: IO[str] | None = None
    while True:
        run = instance.get_run_by_id(run_id)
        assert run is not None, f"run {run_id} was launched, so it is recorded"
        if log is None and run.tags.get(LOG_TAG) and Path(run.tags[LOG_TAG]).is_file():
            log = Path(run.tags[LOG_TAG]).open(encoding="utf-8", errors="replace")  # noqa: SIM115 - followed for minutes
        for line in log or ():
            if _worth_showing(line):
                print(f"  {line}", end="", flush=True)
        if run.is_finished:
            break
        time.sleep(_POLL_SECONDS)
    if log is not None:
        log.close()
    if not run.is_success:
        raise DemoFailed(f"run {run_id} ended {run.status.value}; its log is {run.tags.get(LOG_TAG)}")


def _worth_showing(line: str) -> bool:
    """Training progress, and which step started or ended; not Dagster's debug chatter."""
    return line.startswith("step ") or "STEP_START" in line or "STEP_SUCCESS" in line or "STEP_FAILURE" in line


def _cancel_runs(instance: dg.DagsterInstance) -> None:
    """Terminate every run that has not ended and wait until the launchers say that it has."""
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        instance.run_coordinator.cancel_run(run.run_id)
    while instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        time.sleep(_POLL_SECONDS)


_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@contextmanager
def _daemon() -> Iterator[None]:
    """Run the Dagster daemon for as long as the block; one that already serves this instance is used as it is."""
    if _daemon_is_running():
        yield
        return
    command = [sys.executable, "-m", "dagster._daemon", "run", "-w", str(_ROOT / "workspace.yaml")]
    with background_process(command, cwd=_ROOT, log=_daemon_log()):
        yield


def _daemon_is_running() -> bool:
    """Whether a daemon serves this instance now. Heartbeats do not tell: they outlive their daemon by minutes."""
    serving = marked_processes("DAGSTER_HOME", os.environ["DAGSTER_HOME"])
    return any("dagster._daemon" in " ".join(process.cmdline()) for process in serving)


def _daemon_log() -> Path:
    return state_dir() / "logs" / "daemon.log"


def _say(sentence: str) -> None:
    print(f"\n{sentence}", flush=True)
