"""Faults of what runs share: the vote database, the artifact store's locks and final rename, and the disk."""

import itertools
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from dagster import DagsterInstance
from dagster._core.events import RunFailureReason
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus
from dagster._core.storage.tags import RUN_FAILURE_REASON_TAG
from filelock import FileLock

from llmops_assets.feedback.errors import StoreUnavailable
from llmops_assets.resources.artifacts import MANIFEST
from llmops_assets_tests.assets.tiny_lane import NAME
from llmops_assets_tests.chaos import ui_api
from llmops_assets_tests.chaos.fault import CANCELED, FAILURE, SUCCESS, Fault, since
from llmops_assets_tests.chaos.observations import Trial
from llmops_assets_tests.chaos.waiting import wait_for
from llmops_assets_tests.chaos.world import World

SENSOR = f"{NAME}_enough_preferences"
_VOTES = 5
_LOCKED_SECONDS = 4.0
_DISK_MEGABYTES = 96
_BLOCK = 64 * 1024


def _feedback_locked(world: World, repetition: int) -> Trial:
    """Hold the database while votes come in and the sensor ticks: exclusively, or as a writer that is slow."""
    kind = ("IMMEDIATE", "EXCLUSIVE")[repetition % 2]
    before = _sensor_ticks(world.instance)
    acknowledged: list[str] = []
    refused: list[str] = []

    def vote() -> None:
        for _ in range(_VOTES):
            try:
                acknowledged.extend(world.vote(1, "tie"))
            except StoreUnavailable as error:
                refused.append(str(error))

    with _locked(world.feedback_file, kind):
        voters = [Thread(target=vote) for _ in range(2)]
        for voter in voters:
            voter.start()
        wait_for(lambda: len(_sensor_ticks(world.instance)) > len(before), "a tick of the sensor under the lock")
        time.sleep(_LOCKED_SECONDS)
    began = time.monotonic()
    for voter in voters:
        voter.join()
    acknowledged += world.vote(1, "tie")
    ended = wait_for(lambda: _next_tick(world.instance, before), "the end of a tick of the sensor after the lock")
    objections = [] if ended.status == TickStatus.SKIPPED else [f"the sensor's tick ended {ended.status.value}"]
    if len(acknowledged) + len(refused) != 2 * _VOTES + 1:
        objections.append(f"of {2 * _VOTES + 1} votes {len(acknowledged)} were taken and {len(refused)} refused")
    return Trial(acknowledged_votes=acknowledged, trains=False, objections=objections, recovery_seconds=since(began))


@contextmanager
def _locked(file: Path, kind: str) -> Iterator[None]:
    connection = sqlite3.connect(file, timeout=30, isolation_level=None)
    try:
        connection.execute(f"BEGIN {kind}")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def _sensor_ticks(instance: DagsterInstance) -> list[InstigatorTick]:
    """All ticks of the lane's sensor, newest first; none before the daemon has seen it."""
    states = [state for state in instance.all_instigator_state() if state.instigator_name == SENSOR]
    return [tick for state in states for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)]


def _next_tick(instance: DagsterInstance, before: list[InstigatorTick]) -> InstigatorTick | None:
    """The newest tick that has ended, once it is not the one that began under the lock."""
    known = {tick.tick_id for tick in before}
    fresh = [tick for tick in _sensor_ticks(instance) if tick.tick_id not in known]
    under_lock = min((tick.tick_id for tick in fresh), default=None)
    ended = [tick for tick in fresh if tick.tick_id != under_lock and tick.status != TickStatus.STARTED]
    return ended[0] if ended else None


def _held_by_another_builder(world: World, repetition: int) -> Trial:
    """Another process builds the same adapter: one run waits and is canceled, the next waits and then trains."""
    world.forget_adapter()
    world.slot.mkdir(parents=True)
    with FileLock(f"{world.slot}.lock"):
        canceled = world.launch_training()
        _await_step_start(world, canceled)
        ui_api.terminate(world.services.url, canceled)
        world.await_end(canceled)
        waiting = world.launch_training()
        _await_step_start(world, waiting)
        trained_meanwhile = world.processes(waiting, "torch.distributed.run")
        began = time.monotonic()
    world.await_end(waiting)
    objections = ["a run trained while another builder held the lock"] if trained_meanwhile else []
    return Trial({canceled: CANCELED, waiting: SUCCESS}, objections=objections, recovery_seconds=since(began))


def _await_step_start(world: World, run_id: str) -> None:
    wait_for(lambda: world.instance.get_run_step_stats(run_id), f"the first step of run {run_id}")


def _killed_before_the_rename(world: World, repetition: int) -> Trial:
    """Kill the worker when the adapter is written, and in every second repetition only when its manifest is."""
    world.forget_adapter()
    last = ("loss_curve.png", MANIFEST)[repetition % 2]
    lost = world.launch_training()
    world.await_checkpoint(lost)
    worker = world.run_worker(lost)
    written = world.slot / "output" / last
    trained = world.slot / "output" / "training_result.json"
    wait_for(lambda: trained.exists() or not worker.is_running(), "the end of the training")
    # No sleep between two looks: the time between the manifest and the rename is that of one fsync.
    spinning = itertools.takewhile(lambda _: worker.is_running(), itertools.count())
    hit = next((True for _ in spinning if written.exists() or world.published.exists()), False)
    began = time.monotonic()
    worker.send_signal(signal.SIGKILL)
    published_first = world.published.exists()
    world.await_end(lost)
    again = world.await_retry(lost)
    world.await_end(again)
    objections = [] if hit else [f"the worker ended before {last} was seen"]
    return Trial(
        {lost: FAILURE, again: SUCCESS},
        resumed=not published_first,
        objections=objections,
        recovery_seconds=since(began),
    )


def _disk_full(world: World, repetition: int) -> Trial:
    """Fill the state folder's file system during training: records, votes and checkpoints share it."""
    world.forget_adapter()
    acknowledged = world.vote(2, "tie")
    failed = world.launch_training()
    world.await_checkpoint(failed)
    supervisor = world.supervisor(failed)
    ballast = world.root / "state" / "ballast"
    _fill(ballast)
    try:
        acknowledged += _vote_if_there_is_room(world)
        wait_for(lambda: not supervisor.is_running(), "the end of the run's processes on a full disk")
    finally:
        ballast.unlink()
    began = time.monotonic()
    world.await_end(failed)
    # Whether the failed step could still be recorded decides who starts the next attempt: a person, or Dagster.
    retried = world.run(failed).tags.get(RUN_FAILURE_REASON_TAG) != RunFailureReason.STEP_FAILURE.value
    again = world.await_retry(failed) if retried else world.launch_training()
    world.await_end(again)
    return Trial(
        {failed: FAILURE, again: SUCCESS},
        acknowledged_votes=acknowledged,
        resumed=True,
        recovery_seconds=since(began),
    )


def _fill(ballast: Path) -> None:
    """Write until there is no room left, to the last byte."""
    with ballast.open("wb", buffering=0) as stream:
        for size in (_BLOCK, 1):
            try:
                while True:
                    stream.write(b"\0" * size)
            except OSError:
                continue


def _vote_if_there_is_room(world: World) -> list[str]:
    """A vote on a full disk is either recorded or refused with a sentence about the store."""
    try:
        return world.vote(1, "tie")
    except StoreUnavailable:
        return []


def _no_mounts() -> str | None:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return "needs root, to mount a small file system"
    return None


STORE_FAULTS = [
    Fault(
        "feedback store locked",
        "every acknowledged vote is there; the sensor's next tick ends well",
        _feedback_locked,
    ),
    Fault(
        "adapter held by another builder",
        "a run that waits can be canceled; the next waits, then SUCCESS",
        _held_by_another_builder,
    ),
    Fault(
        "kill -9 before the rename",
        "FAILURE; Dagster's own retry SUCCESS; nothing half-written is taken for an adapter",
        _killed_before_the_rename,
    ),
    Fault(
        "disk full",
        "FAILURE; with room again SUCCESS from the last checkpoint",
        _disk_full,
        why_not=_no_mounts,
        state_megabytes=_DISK_MEGABYTES,
    ),
]
