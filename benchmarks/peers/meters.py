"""What a process has used so far, read inside it. Imports the standard library alone: it runs in every environment."""

import json
import os
import resource
import time
from pathlib import Path

COST_FILE = "cost.json"
_TICKS = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat behind the name (man 5 proc): the parent, and user and system time, its own and that of the
# children that it waited for.
_PARENT, _TIMES = 1, slice(11, 15)


class Meter:
    """Measures from when it is made to when it is asked to write."""

    def __init__(self) -> None:
        self._held_kib = peak_kib()
        self._began = time.perf_counter()
        self._before = cpu_seconds()

    def write(self, folder: Path) -> None:
        """Write cost.json to `folder`, in one step, as it is waited for."""
        cost = {
            "cpu_seconds": cpu_seconds() - self._before,
            "wall_seconds": time.perf_counter() - self._began,
            "peak_kib": peak_kib(),
            "held_kib": self._held_kib,
        }
        unfinished = folder / f"{COST_FILE}.unfinished"
        unfinished.write_text(json.dumps(cost), encoding="utf-8")
        unfinished.replace(folder / COST_FILE)


def cpu_seconds() -> float:
    """Return user and system time of this process and of all below it, those that ended and those that still run."""
    ended = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in ended) + _of_running_descendants()


def _of_running_descendants() -> float:
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            # It has ended since the folder was listed.
            continue
        parents[int(folder.name)] = int(fields[_PARENT])
        ticks[int(folder.name)] = sum(map(int, fields[_TIMES]))
    below, found = {os.getpid()}, set[int]()
    while below := {one for one, parent in parents.items() if parent in below} - found:
        found |= below
    return sum(ticks[one] for one in found) / _TICKS


def peak_kib() -> int:
    """Return the peak resident size of this process.

    ru_maxrss would begin with the size of the process that started it; VmHWM does not.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
