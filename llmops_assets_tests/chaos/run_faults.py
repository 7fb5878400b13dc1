"""Faults of one run: canceled, and kill -9 of each of its processes while it trains."""

import signal
import time
from collections.abc import Callable

import psutil

from llmops_assets_tests.chaos import ui_api
from llmops_assets_tests.chaos.fault import CANCELED, FAILURE, SUCCESS, Fault, since
from llmops_assets_tests.chaos.observations import Trial
from llmops_assets_tests.chaos.waiting import wait_for
from llmops_assets_tests.chaos.world import World

Victim = Callable[[World, str], psutil.Process]

_RANK = "llmops_assets.training.worker"
_TORCHRUN = "torch.distributed.run"
_GUARD = "llmops_assets.resources.process_guard"


def _canceled(world: World, repetition: int) -> Trial:
    world.forget_adapter()
    canceled = world.launch_training()
    world.await_checkpoint(canceled)
    began = time.monotonic()
    ui_api.terminate(world.services.url, canceled)
    world.await_end(canceled)
    stopped = since(began)
    again = world.launch_training()
    world.await_end(again)
    return Trial({canceled: CANCELED, again: SUCCESS}, resumed=True, recovery_seconds=stopped)


def _canceled_in_the_queue(world: World, repetition: int) -> Trial:
    """Cancel at a varying moment before the training: queued, launched, loading."""
    world.forget_adapter()
    canceled = world.launch_training()
    time.sleep(0.7 * repetition)
    began = time.monotonic()
    ui_api.terminate(world.services.url, canceled)
    world.await_end(canceled)
    return Trial({canceled: CANCELED}, trains=False, recovery_seconds=since(began))


def kill_of_training(victim: Victim) -> Callable[[World, int], Trial]:
    """Returns the application of kill -9 to a process under the run worker, which sees it and tries once more."""

    def apply(world: World, repetition: int) -> Trial:
        world.forget_adapter()
        run_id = world.launch_training()
        world.await_checkpoint(run_id)
        target = victim(world, run_id)
        began = time.monotonic()
        target.send_signal(signal.SIGKILL)
        world.await_end(run_id)
        return Trial({run_id: SUCCESS}, resumed=True, recovery_seconds=since(began))

    return apply


def kill_of_worker(victim: Victim) -> Callable[[World, int], Trial]:
    """Returns the application of kill -9 to what holds the run itself: Dagster must start it again."""

    def apply(world: World, repetition: int) -> Trial:
        world.forget_adapter()
        lost = world.launch_training()
        world.await_checkpoint(lost)
        target = victim(world, lost)
        began = time.monotonic()
        target.send_signal(signal.SIGKILL)
        world.await_end(lost)
        again = world.await_retry(lost)
        world.await_end(again)
        return Trial({lost: FAILURE, again: SUCCESS}, resumed=True, recovery_seconds=since(began))

    return apply


def member(module: str) -> Victim:
    """The process of a run that runs `python -m module`."""
    return lambda world, run_id: wait_for(lambda: next(iter(world.processes(run_id, module)), None), module)


_IN_THE_RUN = "SUCCESS: the step is tried again once, from the last checkpoint"
_RETRIED = "FAILURE; Dagster's own retry SUCCESS from the last checkpoint"

RUN_FAULTS = [
    Fault("cancel from the UI", "CANCELED; launched again, SUCCESS from its checkpoint", _canceled),
    Fault("cancel before training", "CANCELED, whatever it was doing", _canceled_in_the_queue),
    Fault("kill -9 rank", _IN_THE_RUN, kill_of_training(member(_RANK))),
    Fault("kill -9 torchrun", _IN_THE_RUN, kill_of_training(member(_TORCHRUN))),
    Fault("kill -9 process guard", _IN_THE_RUN, kill_of_training(member(_GUARD))),
    Fault(
        "kill -9 run worker",
        f"{_RETRIED} (run worker and step worker are one process here)",
        kill_of_worker(lambda world, run_id: world.run_worker(run_id)),
    ),
    Fault("kill -9 run supervisor", _RETRIED, kill_of_worker(lambda world, run_id: world.supervisor(run_id))),
]
