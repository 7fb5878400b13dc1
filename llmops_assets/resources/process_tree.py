"""Finds every process of one piece of work by a marker in its environment, and ends them.

Parent and child links are not enough: torchrun makes each rank a session leader, and when a parent dies
its children move to another parent. The environment is inherited by all of them and cannot be lost that way.
"""

import logging
import os
import signal
import time
from collections.abc import Callable

import psutil

from llmops_assets.errors import LlmopsError

logger = logging.getLogger(__name__)

_RESCAN_SECONDS = 1.0
_POLL_SECONDS = 0.05
_KILL_SECONDS = 10.0

ProcessScan = Callable[[], list[psutil.Process]]


class UnkillableProcesses(LlmopsError):
    """Processes outlived SIGKILL: they hang inside the kernel, as with a lost GPU or a dead network disk."""

    def __init__(self, processes: list[psutil.Process]) -> None:
        self.pids = [process.pid for process in processes]
        super().__init__(
            f"Processes {self.pids} did not end within {_KILL_SECONDS:g} s of SIGKILL. They wait inside the kernel "
            "(see their state with `ps -o pid,stat,wchan,cmd`); free the device they wait for, or restart the machine."
        )


def marked_processes(variable: str, value: str) -> list[psutil.Process]:
    """All live processes, except this one, that were started with `variable=value` in their environment.

    Zombies have no environment any more and so count as dead. Processes of other users cannot be read and
    are left out.
    """
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            if process.environ().get(variable) == value:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def stop_processes(scan: ProcessScan, grace_seconds: float) -> None:
    """Ends everything `scan` finds: SIGTERM to the topmost processes, a grace period, then SIGKILL to all.

    Only the topmost get SIGTERM, since a launcher such as torchrun passes it on to its ranks itself; those
    whose parent ends first become topmost and get theirs then. `scan` is repeated until it finds nothing, so a
    process forked meanwhile is not missed.

    Raises:
        UnkillableProcesses: something outlived SIGKILL by 10 s.
    """
    deadline = time.monotonic() + grace_seconds
    asked: set[int] = set()
    while members := scan():
        now = time.monotonic()
        if now >= deadline + _KILL_SECONDS:
            raise UnkillableProcesses(members)
        if now >= deadline:
            logger.warning("killing processes %s after %g s of grace", [p.pid for p in members], grace_seconds)
            _send(members, signal.SIGKILL)
        else:
            fresh = [process for process in _topmost(members) if process.pid not in asked]
            asked.update(process.pid for process in fresh)
            _send(fresh, signal.SIGTERM)
        remaining = deadline - now if now < deadline else _RESCAN_SECONDS
        _wait_until_gone(members, min(remaining, _RESCAN_SECONDS))


def is_alive(process: psutil.Process) -> bool:
    """Whether this very process still runs; a zombie, and another process under the same pid, do not count."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _topmost(members: list[psutil.Process]) -> list[psutil.Process]:
    pids = {process.pid for process in members}
    topmost = []
    for process in members:
        try:
            if process.ppid() not in pids:
                topmost.append(process)
        except psutil.NoSuchProcess:
            continue
    return topmost


def _send(processes: list[psutil.Process], signal_number: int) -> None:
    for process in processes:
        try:
            process.send_signal(signal_number)
        except psutil.NoSuchProcess:
            continue


def _wait_until_gone(processes: list[psutil.Process], timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline and any(is_alive(process) for process in processes):
        time.sleep(_POLL_SECONDS)
