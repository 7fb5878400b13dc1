"""The wall clock of an instance is set forward and back while a run trains.

All of its processes get a preloaded library that shifts their wall clock and nothing else. libfaketime 0.9.10 cannot be
used for it: with true monotonic clocks, its sleeps fail with EINVAL.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmops_assets_tests.chaos import ui_api
from llmops_assets_tests.chaos.fault import CANCELED, SUCCESS, Fault, since
from llmops_assets_tests.chaos.observations import Trial
from llmops_assets_tests.chaos.world import Surroundings, World

_HOUR = 3600
_SOURCE = Path(__file__).with_name("wall_clock.c")


def _no_compiler() -> str | None:
    if sys.platform != "linux" or shutil.which("cc") is None:
        return "needs Linux and a C compiler (cc)"
    return None


@contextmanager
def _shifted(root: Path) -> Iterator[Surroundings]:
    """Every process reads its offset from one file, at each look at its clock."""
    root.mkdir(parents=True, exist_ok=True)
    _set_clock(root, 0)
    library = root / "wall_clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(_SOURCE)], check=True)
    yield Surroundings(environment={"LD_PRELOAD": str(library), "SHIFTED_CLOCK": str(_clock(root))})


def _clock(root: Path) -> Path:
    return root / "clock"


def _set_clock(root: Path, seconds: int) -> None:
    """Set the clock of the instance under `root` to the true time plus `seconds`."""
    partial = _clock(root).with_suffix(".new")
    partial.write_text(f"{seconds:+d}\n")
    partial.rename(_clock(root))


def _step(world: World, repetition: int) -> Trial:
    """An hour forward in the even repetitions and back in the odd ones, and true again when the run has ended."""
    world.forget_adapter()
    trained = world.launch_training()
    world.await_checkpoint(trained)
    began = time.monotonic()
    _set_clock(world.root, (_HOUR, -_HOUR)[repetition % 2])
    try:
        world.await_end(trained)
    finally:
        _set_clock(world.root, 0)
        # Dagster's daemon waits by the wall clock: set back, it would pause for as long as it was set back.
        _restart_daemon(world)
    return Trial({trained: SUCCESS}, recovery_seconds=since(began))


def _step_and_cancel(world: World, repetition: int) -> Trial:
    """With the clock an hour on, a cancel looks overdue at once: Dagster may give up on it, its processes may not."""
    world.forget_adapter()
    canceled = world.launch_training()
    world.await_checkpoint(canceled)
    began = time.monotonic()
    ui_api.terminate(world.services.url, canceled)
    _set_clock(world.root, _HOUR)
    try:
        world.await_end(canceled)
    finally:
        _set_clock(world.root, 0)
        _restart_daemon(world)
    again = world.launch_training()
    world.await_end(again)
    return Trial({canceled: CANCELED, again: SUCCESS}, resumed=True, recovery_seconds=since(began))


def _restart_daemon(world: World) -> None:
    world.services["daemon"].stop()
    world.services["daemon"].start()


CLOCK_FAULTS = [
    Fault(
        "clock 1 h forward or back",
        "the run under way SUCCESS (the daemon is restarted afterwards: it waits by the wall clock)",
        _step,
        why_not=_no_compiler,
        surroundings=_shifted,
    ),
    Fault(
        "clock 1 h forward during a cancel",
        "CANCELED; launched again, SUCCESS from its checkpoint",
        _step_and_cancel,
        why_not=_no_compiler,
        surroundings=_shifted,
    ),
]
