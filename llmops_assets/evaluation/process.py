"""What the measuring processes share at their edge: one argument in, an exit status and a readable error out."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from llmops_assets.errors import LlmopsError


def run_process(module: str, arguments: Sequence[str], work: Callable[[Path], None]) -> int:
    """Call `work` with the job file. Returns 0, 1 after an error of ours (its sentence on stderr), 2 on bad usage."""
    if len(arguments) != 1:
        print(f"usage: python -m {module} JOB.json", file=sys.stderr)
        return 2
    # Idle OpenMP threads sleep instead of spinning: on cores shared with other processes spinning made decoding
    # twenty times slower. The runtime reads this when torch is imported, which `work` does.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        work(Path(arguments[0]))
    except LlmopsError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0
