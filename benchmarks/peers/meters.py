"""What a process has used so far, read inside it. Imports the standard library alone: it runs in every environment."""

import resource
from pathlib import Path


def cpu_seconds() -> float:
    """Return user and system time of this process and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_kib() -> int:
    """Return the peak resident size of this process, or of the largest that it waited for.

    ru_maxrss of this process begins with the size of the one that started it; VmHWM does not.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    own = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
