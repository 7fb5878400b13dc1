"""Tells a rank that was killed from one that failed: only the first is worth another attempt."""

import re
import signal

from llmops_assets.errors import LlmopsError
from llmops_assets.resources.supervised_process import SupervisedProcessFailed

# Nobody asks a rank to stop with these: memory ran out, the machine was taken away, or a library crashed.
_UNASKED: dict[int, str] = {
    int(number): number.name
    for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL)
}
# torchrun ends its report with the failure that it saw first; others that it lists are often its own doing.
_ROOT_CAUSE = re.compile(r"Root Cause.*?rank\s*:\s*(\d+).*?exitcode\s*:\s*(-?\d+)", re.DOTALL)
_NODE_LOST = re.compile(r"rank (\d+) was lost with its Ray worker")


class RankLost(LlmopsError):
    """A rank, or what started it, was killed. What was trained up to the last checkpoint is kept."""


def how_it_was_lost(failure: SupervisedProcessFailed) -> str | None:
    """Return what was killed and by what, e.g. `rank 1 was ended by SIGKILL`; None for a run that failed by itself.

    torchrun itself ends with code 1 whatever happened to its ranks, so its report in the log is read.
    """
    if (name := _UNASKED.get(failure.exit_code - 128)) is not None:
        return f"the process that runs the ranks, or a rank, was ended by {name}"
    log = "\n".join(failure.last_lines)
    if (cause := _ROOT_CAUSE.search(log)) and (name := _UNASKED.get(-int(cause[2]))) is not None:
        return f"rank {cause[1]} was ended by {name}"
    if node := _NODE_LOST.search(log):
        return f"rank {node[1]} was lost with its node or its Ray worker"
    return None
