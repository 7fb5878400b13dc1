"""A small parent process that starts a command and leaves nothing of it behind, whatever happens to either of them.

`python -m llmops_assets.resources.process_guard --marker V --grace-seconds S --parent-pid P --cwd D -- command ...`

The guard polls its parent's pid instead of asking for PR_SET_PDEATHSIG: that signal comes when the *thread*
that forked ends, is lost if the parent dies before it is set, and exists on Linux only. A guard that runs on
after its parent, instead of a plain exec of the command, is what can still escalate from SIGTERM to SIGKILL.
"""

import argparse
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import psutil

from llmops_assets.resources.process_tree import marked_processes, stop_processes

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class GuardedExit:
    """How a guarded command ended: its exit code (-N for signal N) and whether the guard had been told to stop it."""

    exit_code: int
    stopped: bool


class _Guard:
    """Owns the leader process and, as subreaper, every descendant that loses its parent."""

    def __init__(self, command: Sequence[str], marker: str, cwd: Path | None) -> None:
        self._marker = marker
        self._marker_value = os.environ[marker]
        self._stop_requested = False
        adopt_orphans()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._request_stop)
        self._leader = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL)

    def _request_stop(self, signal_number: int, frame: FrameType | None) -> None:
        self._stop_requested = True

    def wait(self, parent_pid: int | None) -> bool:
        """Waits for the leader to end or for a reason to stop it; returns whether there was one."""
        while True:
            self._reap()
            if self._leader.returncode is not None:
                return self._stop_requested
            if self._stop_requested or (parent_pid is not None and os.getppid() != parent_pid):
                return True
            time.sleep(_POLL_SECONDS)

    def clear(self, grace_seconds: float) -> int:
        """Ends the leader and all that it left; returns the leader's exit code."""
        stop_processes(self._members, grace_seconds)
        while self._leader.returncode is None:
            self._reap()
            time.sleep(_POLL_SECONDS)
        return self._leader.returncode

    def _members(self) -> list[psutil.Process]:
        self._reap()
        found = {process.pid: process for process in marked_processes(self._marker, self._marker_value)}
        for process in psutil.Process().children(recursive=True):
            found.setdefault(process.pid, process)
        return list(found.values())

    def _reap(self) -> None:
        """Collects every ended child, adopted ones included: a zombie would otherwise look like a survivor."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._leader.pid:
                self._leader.returncode = os.waitstatus_to_exitcode(status)


def run_guarded(
    command: Sequence[str],
    *,
    marker: str,
    grace_seconds: float,
    parent_pid: int | None = None,
    cwd: Path | None = None,
) -> GuardedExit:
    """Runs `command` in this process' session and returns when nothing of it is left.

    Takes over this process' SIGTERM, SIGINT and SIGHUP: each stops the command (SIGTERM, `grace_seconds` to end, then
    SIGKILL to the whole tree). The same happens to what a command leaves behind when it ends by itself. Call
    it from the main thread of a process that does nothing else.

    Args:
        marker: Name of a variable in this process' environment whose value no other piece of work has.
        parent_pid: Stop as soon as this process is not a child of that pid any more; None to outlive any parent.

    Raises:
        OSError: the command cannot be started.
        UnkillableProcesses: something outlived SIGKILL.
    """
    guard = _Guard(command, marker, cwd)
    stopped = guard.wait(parent_pid)
    return GuardedExit(exit_code=guard.clear(grace_seconds), stopped=stopped)


def adopt_orphans() -> None:
    """Makes this process the new parent of descendants that lose theirs (Linux; elsewhere only the marker finds them).

    Source: prctl(2), PR_SET_CHILD_SUBREAPER.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(number)}")


def shell_exit_code(exit_code: int) -> int:
    """The code as shells report it: 128 + N for a process that signal N ended."""
    return exit_code if exit_code >= 0 else 128 - exit_code


def _main() -> int:
    parser = argparse.ArgumentParser(description="Run a command and leave no process of it behind.")
    parser.add_argument("--marker", required=True, help="environment variable whose value marks this piece of work")
    parser.add_argument("--grace-seconds", type=float, required=True, help="time between SIGTERM and SIGKILL")
    parser.add_argument("--parent-pid", type=int, required=True, help="stop when this process is gone")
    parser.add_argument("--cwd", type=Path, required=True, help="working directory of the command")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    logging.basicConfig(format="process guard: %(message)s")
    try:
        ended = run_guarded(
            options.command,
            marker=options.marker,
            grace_seconds=options.grace_seconds,
            parent_pid=options.parent_pid,
            cwd=options.cwd,
        )
    except OSError as error:
        logger.error("cannot start %s in %s: %s", options.command[0], options.cwd, error)
        return 127
    return shell_exit_code(ended.exit_code)


if __name__ == "__main__":
    sys.exit(_main())
