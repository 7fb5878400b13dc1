"""Starting the payload under supervision, and waiting for what its processes do."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from llmops_assets.resources.process_tree import is_alive
from llmops_assets.resources.supervised_process import run_supervised


def supervise_payload(
    folder: Path, *options: str, grace_seconds: float, on_line: Callable[[str], None] | None = None
) -> None:
    """Runs the payload under `run_supervised`, with its pids and its log in `folder`."""
    run_supervised(
        [sys.executable, "-m", "llmops_assets_tests.resources.process_tree_payload", str(folder), *options],
        cwd=Path.cwd(),
        env=os.environ,
        log_path=folder / "worker.log",
        grace_seconds=grace_seconds,
        on_line=on_line,
        poll_seconds=0.05,
    )


def wait_until(condition: Callable[[], bool], timeout_seconds: float = 20.0) -> None:
    """Polls until `condition` holds; fails the test when it does not within the timeout."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"still not true after {timeout_seconds} s"
        time.sleep(0.05)


def payload_processes(folder: Path) -> list[psutil.Process]:
    """Leader and rank of a payload that is up: waits until both have recorded their pids."""
    wait_until(lambda: (folder / "leader.pid").exists())
    return [psutil.Process(pid) for pid in _recorded_pids(folder)]


def survivors(folder: Path) -> list[psutil.Process]:
    """Those of a payload's two processes that still run; the payload must have been up."""
    pids = [pid for pid in _recorded_pids(folder) if psutil.pid_exists(pid)]
    return [process for process in map(psutil.Process, pids) if is_alive(process)]


def all_gone(processes: list[psutil.Process]) -> bool:
    """Whether none of the processes runs any more."""
    return not any(is_alive(process) for process in processes)


def _recorded_pids(folder: Path) -> list[int]:
    return [int((folder / f"{role}.pid").read_text()) for role in ("leader", "rank")]
