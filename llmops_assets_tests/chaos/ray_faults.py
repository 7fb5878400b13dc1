"""Faults of the cluster under a run that is a Ray job: stopped behind Dagster's back, and the head node lost."""

import importlib.util
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from llmops_assets_tests.assets.tiny_lane import REPOSITORY
from llmops_assets_tests.chaos.fault import FAILURE, SUCCESS, Fault, since
from llmops_assets_tests.chaos.observations import Trial
from llmops_assets_tests.chaos.services import environment_of
from llmops_assets_tests.chaos.waiting import NeverHappened, wait_for
from llmops_assets_tests.chaos.world import Surroundings, World
from llmops_assets_tests.resources.local_ray import FOLDER, ray_head

_UNREACHABLE_SECONDS = 10
_HEAD_DAEMONS = ("gcs_server", "raylet", "dashboard")


@contextmanager
def _cluster(root: Path) -> Iterator[Surroundings]:
    """A head node of its own, and an instance whose GPU pool is served by it."""
    with ray_head(gpus=1) as head:
        ray = {"address": head.address, "env_vars": [f"PYTHONPATH={REPOSITORY}"]}
        launcher = {
            "module": "llmops_assets.launchers.ray",
            "class": "RayJobRunLauncher",
            "config": {"ray": ray, "grace_seconds": 150, "unreachable_seconds": _UNREACHABLE_SECONDS},
        }
        yield Surroundings(launchers={"ray": launcher}, routes={"gpu": "ray"})


def _stopped_from_outside(world: World, repetition: int) -> Trial:
    """`ray job stop`, as another user of the cluster might."""
    from dagster_ray.core.run_launcher import get_job_submission_id_from_run_id
    from ray.job_submission import JobSubmissionClient

    world.forget_adapter()
    stopped = world.launch_training()
    world.await_checkpoint(stopped)
    began = time.monotonic()
    address = world.surroundings.launchers["ray"]["config"]["ray"]["address"]
    JobSubmissionClient(address).stop_job(get_job_submission_id_from_run_id(stopped))
    world.await_end(stopped)
    again = world.await_retry(stopped)
    world.await_end(again)
    return Trial({stopped: FAILURE, again: SUCCESS}, resumed=True, recovery_seconds=since(began))


def _head_killed(world: World, repetition: int) -> Trial:
    """kill -9 of the head's own processes; no other head comes, so Dagster's retry has to say what is wrong."""
    world.forget_adapter()
    lost = world.launch_training()
    world.await_checkpoint(lost)
    daemons = _head_daemons(world)
    began = time.monotonic()
    for process in daemons:
        process.send_signal(signal.SIGKILL)
    world.await_end(lost)
    refused = world.await_retry(lost)
    world.await_end(refused)
    said = "\n".join(entry.to_json() for entry in world.instance.all_logs(refused))
    objections = [] if "does not answer" in said else [f"run {refused} does not say that the cluster is gone"]
    wait_for(lambda: not world.leftovers(), "the end of what the head had started")
    return Trial({lost: FAILURE, refused: FAILURE}, trains=False, objections=objections, recovery_seconds=since(began))


def _head_daemons(world: World) -> list[psutil.Process]:
    """The processes that make up the head node of this world's cluster, its workers excepted."""
    job = next((process for process in psutil.process_iter() if _is_worker_of(process, world)), None)
    if job is None:
        raise NeverHappened("the run's Ray job has no process on this machine")
    folder = environment_of(job)[FOLDER]
    members = [process for process in psutil.process_iter() if environment_of(process).get(FOLDER) == folder]
    found = [process for process in members if any(name in " ".join(process.cmdline()[:3]) for name in _HEAD_DAEMONS)]
    if not found:
        raise NeverHappened(f"no process of the head node in {folder} was found")
    return found


def _is_worker_of(process: psutil.Process, world: World) -> bool:
    environment = environment_of(process)
    return FOLDER in environment and environment.get("DAGSTER_HOME") == str(world.root / "home")


def _no_ray() -> str | None:
    missing = [name for name in ("ray", "dagster_ray") if importlib.util.find_spec(name) is None]
    return f"needs {' and '.join(missing)}" if missing else None


RAY_FAULTS = [
    Fault(
        "Ray job stopped from outside",
        "FAILURE; Dagster's own retry SUCCESS from the last checkpoint",
        _stopped_from_outside,
        why_not=_no_ray,
        surroundings=_cluster,
    ),
    Fault(
        "Ray head killed",
        "FAILURE; the retry FAILURE with a sentence about the cluster, nothing left of either",
        _head_killed,
        why_not=_no_ray,
        surroundings=_cluster,
        reusable=False,
    ),
]
