"""Waiting for a condition with a limit that a loaded machine does not reach, and saying what did not come."""

import time
from collections.abc import Callable
from typing import TypeVar

from llmops_assets.errors import LlmopsError

PATIENCE_SECONDS = 600.0
_POLL_SECONDS = 0.05

T = TypeVar("T")


class NeverHappened(LlmopsError):
    """Something that a fault waits for did not come in time."""


def wait_for(look: Callable[[], T | None], what: str, *, seconds: float = PATIENCE_SECONDS) -> T:
    """Return the first value of `look` that is neither None nor False.

    Raises:
        NeverHappened: there was none within `seconds`; the message names `what`.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = look()
        if value is not None and value is not False:
            return value
        if time.monotonic() > deadline:
            raise NeverHappened(f"{what}: not within {seconds:g} s")
        time.sleep(_POLL_SECONDS)


def holds_within(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether `condition` comes true within `seconds`."""
    try:
        wait_for(condition, "the condition", seconds=seconds)
    except NeverHappened:
        return False
    return True
