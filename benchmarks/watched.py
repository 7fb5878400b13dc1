"""A subject's script as a process of its own: its output in a file, its memory watched from outside."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.peers.meters import COST_FILE
from llmops_assets.errors import LlmopsError

_ROOT = Path(__file__).resolve().parents[1]
_SECONDS_BETWEEN_LOOKS = 0.1


@dataclass(frozen=True)
class Cost:
    """What the work of a subject took.

    `peak_kib` is the largest sum of the resident sizes of the process and of all below it, as looks from outside find
    it, but no less than the process's own peak; `held_kib` the peak before the work.
    """

    cpu_seconds: float
    wall_seconds: float
    peak_kib: int
    held_kib: int


class SubjectFailed(LlmopsError):
    """A subject ended with an error; its output is in the file that the message names."""


def run_watched(subject: str, command: Sequence[str | Path], folder: Path) -> Cost:
    """Run `command` with `folder`, made anew, as its last argument, and return what its work cost.

    Its output goes to output.log in that folder. The script writes cost.json there when its work is done (`Meter`);
    what it does then, to tell its answer, is not watched.

    Raises SubjectFailed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log, cost = folder / "output.log", folder / COST_FILE
    variables = os.environ | {"PYTHONPATH": str(_ROOT)}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [str(part) for part in (*command, folder)], env=variables, stdout=stream, stderr=stream
        )
        peak = 0
        while process.poll() is None and not cost.exists():
            peak = max(peak, _resident_bytes(process.pid))
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        process.wait()
    if process.returncode:
        raise SubjectFailed(f"{subject} ended with {process.returncode}; see {log}, or leave it out with --subjects")
    found = json.loads(cost.read_text(encoding="utf-8"))
    return Cost(
        cpu_seconds=found["cpu_seconds"],
        wall_seconds=found["wall_seconds"],
        peak_kib=max(peak // 1024, found["peak_kib"]),
        held_kib=found["held_kib"],
    )


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
