"""A subject's script as a process of its own: its output in a file, its memory watched from outside."""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from llmops_assets.errors import LlmopsError

_ROOT = Path(__file__).resolve().parents[1]
_SECONDS_BETWEEN_LOOKS = 0.1


class SubjectFailed(LlmopsError):
    """A subject ended with an error; its output is in the file that the message names."""


def run_watched(subject: str, command: Sequence[str | Path], log: Path) -> int:
    """Run `command` with this project on its path and its output in `log`.

    Return the largest sum of the resident sizes of the process and of all below it, in KiB, as looks at them find it: a
    shorter peak is missed.

    Raises SubjectFailed.
    """
    variables = os.environ | {"PYTHONPATH": str(_ROOT)}
    with log.open("wb") as stream:
        process = subprocess.Popen([str(part) for part in command], env=variables, stdout=stream, stderr=stream)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _resident_bytes(process.pid))
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    if process.returncode:
        raise SubjectFailed(f"{subject} ended with {process.returncode}; see {log}, or leave it out with --subjects")
    return peak // 1024


def _resident_bytes(pid: int) -> int:
    total = 0
    try:
        top = psutil.Process(pid)
        processes = [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for one in processes:
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total
