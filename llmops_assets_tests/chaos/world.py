"""The instance under test: a copy of a built tiny lane with services of its own, and what one can do with it."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import yaml

from llmops_assets.assets.lineage import FINGERPRINT, latest_metadata
from llmops_assets.feedback.records import Battle, Message, Rater, Response, Verdict
from llmops_assets.feedback.store import FeedbackStore
from llmops_assets.launchers.process import LOG_TAG, PID_TAG
from llmops_assets.launchers.run_supervisor import RUN_MARKER
from llmops_assets.resources.artifacts import ArtifactStore
from llmops_assets.resources.process_tree import is_alive, marked_processes, stop_processes
from llmops_assets_tests.assets.tiny_lane import NAME, REPOSITORY, TinyLane
from llmops_assets_tests.chaos import ui_api
from llmops_assets_tests.chaos.services import Services, environment_of, own_environment
from llmops_assets_tests.chaos.waiting import NeverHappened, wait_for

ADAPTER = "sft_adapter"
POOL = "gpu"
RATER = Rater(subject="chaos", kind="simulated")
# Both change neither the adapter's bytes nor its fingerprint; they spread checkpoints over the whole training.
WATCHED = {"checkpoint_every": 4, "logging_steps": 1}
# Dagster's own answers to a fault, made to come sooner. The mechanisms stay those of the shipped dagster.yaml.
FAST_MONITORING = {"poll_interval_seconds": 1, "free_slots_after_run_end_seconds": 2}
FAST_DAEMON = {"DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "1"}


@dataclass(frozen=True)
class Surroundings:
    """What an instance runs in, where that is not this machine as it is.

    Attributes:
        environment: Added to the environment of the services, and so of all runs.
        launchers: Run launchers beside those of the shipped dagster.yaml, by name.
        routes: The launchers of pools, in place of the shipped ones.
    """

    environment: dict[str, str] = field(default_factory=dict)
    launchers: dict[str, Any] = field(default_factory=dict)
    routes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Undisturbed:
    """What the lane was when it was built, with nothing in its way."""

    adapter_sha256: str
    fingerprint: str


class World:
    """One instance: its files under `root`, its services, its records opened from outside."""

    def __init__(
        self,
        root: Path,
        instance: dg.DagsterInstance,
        services: Services,
        built: Undisturbed,
        surroundings: Surroundings,
    ) -> None:
        self.root = root
        self.surroundings = surroundings
        self.lane = TinyLane(root)
        self.instance = instance
        self.services = services
        self.built = built
        state = root / "state"
        self.store = ArtifactStore(root=str(state / "artifacts"), staging=str(state / "staging"))
        self.feedback_file = state / "feedback" / "feedback.sqlite"
        self.feedback_url = f"sqlite:///{self.feedback_file}"

    @property
    def slot(self) -> Path:
        """Where the adapter is built: `scratch` has the checkpoints, `output` becomes the artifact."""
        return self.root / "state" / "staging" / NAME / ADAPTER / self.built.fingerprint[:32]

    @property
    def published(self) -> Path:
        """Where the adapter lies when it is done."""
        return self.root / "state" / "artifacts" / NAME / ADAPTER / self.built.fingerprint[:32]

    def forget_adapter(self) -> None:
        """Remove the adapter and what was left of its building, so that the next run trains it from the start."""
        shutil.rmtree(self.published, ignore_errors=True)
        shutil.rmtree(self.slot, ignore_errors=True)

    def launch_training(self, url: str | None = None, *, location: str = NAME) -> str:
        """Materialize the adapter through the UI's API; returns the run's id once the API has taken it."""

        def ask() -> str | None:
            try:
                return ui_api.materialize(
                    url or self.services.url,
                    location=location,
                    keys=[(NAME, ADAPTER)],
                    config={"ops": {f"{NAME}__{ADAPTER}": {"config": WATCHED}}},
                )
            except ui_api.RefusedByTheApi as error:
                refusals.append(str(error))
                return None

        refusals: list[str] = []
        try:
            return wait_for(ask, "a run that the UI's API takes")
        except NeverHappened as error:
            raise NeverHappened(f"{error}; its last answer: {refusals[-1:]}") from error

    def run(self, run_id: str) -> dg.DagsterRun:
        """The run as recorded now."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None, f"run {run_id} was launched, so it is recorded"
        return run

    def await_checkpoint(self, run_id: str, step: int = 1) -> None:
        """Wait until a whole checkpoint of `step` or later is there while the training goes on."""

        def found() -> bool:
            self._require_unfinished(run_id)
            return any(
                _step_of(marker.parent) >= step for marker in self.slot.glob("scratch/checkpoint-*/complete.json")
            )

        wait_for(found, f"a checkpoint of run {run_id}")

    def await_end(self, run_id: str) -> dg.DagsterRunStatus:
        """Wait until the run has ended; returns its status."""
        wait_for(lambda: self.run(run_id).is_finished, f"the end of run {run_id}")
        return self.run(run_id).status

    def await_retry(self, run_id: str) -> str:
        """Wait for the run that Dagster starts by itself in place of a lost one; returns its id."""

        def retried() -> str | None:
            return self.run(run_id).tags.get("dagster/auto_retry_run_id")

        return wait_for(retried, f"an automatic retry of run {run_id}")

    def supervisor(self, run_id: str) -> psutil.Process:
        """The run's supervisor."""

        def pid() -> int | None:
            recorded = self.run(run_id).tags.get(PID_TAG, "")
            return int(recorded) if recorded.isdigit() else None

        return psutil.Process(wait_for(pid, f"the supervisor of run {run_id}"))

    def run_worker(self, run_id: str) -> psutil.Process:
        """The run's worker, which is also its step's worker: the executor is in-process."""
        return wait_for(lambda: next(iter(self.supervisor(run_id).children()), None), f"the worker of run {run_id}")

    def processes(self, run_id: str, module: str) -> list[psutil.Process]:
        """The processes of a run that were started as `python -m module`."""
        found = []
        for process in psutil.process_iter():
            if environment_of(process).get(RUN_MARKER) == run_id and _module_of(process) == module:
                found.append(process)
        return found

    def leftovers(self) -> list[psutil.Process]:
        """Processes of this instance that are neither its services nor part of a run that is under way."""
        services = self.services.markers()
        unfinished = {run.run_id for run in self.instance.get_runs() if not run.is_finished}
        found = []
        for process in psutil.process_iter():
            environment = environment_of(process)
            if environment.get("DAGSTER_HOME") != str(self.root / "home"):
                continue
            if environment.get("LLMOPS_SERVICE") in services or environment.get(RUN_MARKER) in unfinished:
                continue
            if is_alive(process):
                found.append(process)
        return found

    def vote(self, count: int, verdict: Verdict) -> list[str]:
        """Record `count` battles with one vote each; returns the ids of the votes that were acknowledged."""
        acknowledged = []
        with FeedbackStore(self.feedback_url) as store:
            version = store.versions(NAME)[0].adapter_sha256
            for number in range(count):
                question = f"What does item {number} do at {time.monotonic_ns()}?"
                battle = Battle(
                    deployment=NAME,
                    prompt=[Message(role="user", content=question)],
                    left=Response(text=f"It counts {number} things.", version=version),
                    right=Response(text="Nothing.", version=version),
                    seed=number,
                )
                acknowledged.append(store.record_vote(store.record_battle(battle), RATER, verdict))
        return acknowledged

    def evidence(self, run_ids: list[str]) -> list[Path]:
        """The logs that tell what happened to these runs."""
        logs = [Path(path) for run_id in run_ids if (path := self.run(run_id).tags.get(LOG_TAG))]
        return [*logs, self.slot / "scratch" / "worker.log", *sorted((self.root / "logs").glob("*.log"))]

    def _require_unfinished(self, run_id: str) -> None:
        run = self.run(run_id)
        if run.is_finished:
            raise NeverHappened(f"run {run_id} ended {run.status.value} before the fault could be applied")


@contextmanager
def world(built_lane: Path, root: Path, surroundings: Surroundings) -> Iterator[World]:
    """A copy of the lane at `built_lane` under `root` (state may be mounted there already), services not started."""
    shutil.copytree(built_lane, root, dirs_exist_ok=True)
    lane = TinyLane(root)
    lane.recipe_file.write_text(lane.recipe_file.read_text().replace(str(built_lane), str(root)))
    (root / "home" / "dagster.yaml").write_text(yaml.safe_dump(_fast_instance(root, surroundings)))
    full = own_environment(**lane.environment, **FAST_DAEMON, **surroundings.environment)
    services = Services(root, full, NAME)
    with dg.DagsterInstance.from_config(str(root / "home")) as instance:
        metadata = latest_metadata(instance, NAME, ADAPTER)
        assert metadata is not None, f"{built_lane} was built without {NAME}/{ADAPTER}"
        built = Undisturbed(adapter_sha256=metadata["adapter_sha256"], fingerprint=metadata[FINGERPRINT])
        here = World(root, instance, services, built, surroundings)
        try:
            yield here
        finally:
            services.stop()
            stop_processes(lambda: marked_processes("DAGSTER_HOME", str(root / "home")), grace_seconds=0.0)


def _fast_instance(root: Path, surroundings: Surroundings) -> dict[str, Any]:
    """The shipped dagster.yaml with quicker polling, and with this folder in place of environment variables."""
    settings = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    settings["run_monitoring"] |= FAST_MONITORING
    settings["run_launcher"]["config"]["launchers"] |= surroundings.launchers
    settings["run_launcher"]["config"]["routes"] |= surroundings.routes
    settings["run_queue"] = {"dequeue_interval_seconds": 1}
    return _filled(settings, {"LLMOPS_STATE_DIR": str(root / "state")})


def _filled(value: Any, variables: dict[str, str]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"env"} and value["env"] in variables:
            return variables[value["env"]]
        return {key: _filled(inner, variables) for key, inner in value.items()}
    return [_filled(inner, variables) for inner in value] if isinstance(value, list) else value


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def _module_of(process: psutil.Process) -> str | None:
    """What follows the first `-m` on the command line, None for a process that has ended."""
    try:
        command = process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return command[command.index("-m") + 1] if "-m" in command[:-1] else None
