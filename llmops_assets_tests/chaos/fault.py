"""What a fault is: a name, what is right after it, and how it is applied once to an instance that works."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from dagster import DagsterRunStatus

from llmops_assets_tests.chaos.observations import Trial
from llmops_assets_tests.chaos.world import Surroundings, World

SUCCESS, FAILURE, CANCELED = DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED


def _possible() -> str | None:
    return None


def _nothing(root: Path) -> AbstractContextManager[Surroundings]:
    return nullcontext(Surroundings())


@dataclass(frozen=True)
class Fault:
    """One row of the table.

    Attributes:
        right: What must be true afterwards, as a sentence; the docs show it.
        apply: Applies the fault to a running instance and returns when everything is settled. The number counts the
            repetitions from 0.
        why_not: Why the fault cannot be applied on this machine, None if it can.
        surroundings: What the instance under this root runs in, for as long as it is there.
        state_megabytes: Size of a file system of its own for the state folder; 0 for an ordinary folder.
        services: Whether code server, daemon and webserver run when `apply` is called.
        reusable: Whether the next repetition can use the same instance.
    """

    name: str
    right: str
    apply: Callable[[World, int], Trial]
    why_not: Callable[[], str | None] = field(default=_possible)
    surroundings: Callable[[Path], AbstractContextManager[Surroundings]] = field(default=_nothing)
    state_megabytes: int = 0
    services: bool = True
    reusable: bool = True


def since(began: float) -> float:
    """Seconds since a reading of the monotonic clock, to a tenth."""
    return round(time.monotonic() - began, 1)
