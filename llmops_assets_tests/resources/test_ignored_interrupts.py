"""An interrupt that comes while a finalizer runs: Python ignores it there, the process must stop all the same."""

import os
import signal
import sys
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._utils.interrupts import raise_interrupts_as

from llmops_assets.resources.ignored_interrupts import redeliver_ignored_interrupts

_PATIENCE_SECONDS = 10.0


class Collected:
    """Something that a weak reference can watch."""


def interrupt_in_a_callback() -> None:
    """Get SIGTERM while a weak-reference callback runs."""
    watched: Any = Collected()
    reference = weakref.ref(watched, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    del watched
    assert reference() is None


@pytest.fixture
def installed() -> Iterator[list[Any]]:
    """The hook over one that collects what it passes on."""
    passed_on: list[Any] = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: passed_on.append(unraisable.exc_type)
    redeliver_ignored_interrupts()
    yield passed_on
    sys.unraisablehook = before


def test_interrupt_in_a_callback_stops_the_run_a_moment_later(installed: list[Any]) -> None:
    with pytest.raises(DagsterExecutionInterruptedError), raise_interrupts_as(DagsterExecutionInterruptedError):
        interrupt_in_a_callback()
        time.sleep(_PATIENCE_SECONDS)
    assert installed == []


def test_other_exceptions_of_callbacks_are_reported_as_before(installed: list[Any]) -> None:
    watched = Collected()
    reference = weakref.ref(watched, lambda _: 1 / 0)
    del watched
    assert reference() is None
    assert installed == [ZeroDivisionError]
