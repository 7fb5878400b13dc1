"""The process that takes the reference's log-probs: `python -m llmops_assets.training.reference.worker job.json`.

Exit code 0: reference.json is written. 1: failed, with a sentence on stderr.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from llmops_assets.errors import LlmopsError


def main(arguments: Sequence[str]) -> int:
    """Measure what the job file named by the one argument asks for and return the exit code."""
    if len(arguments) != 1:
        print("usage: python -m llmops_assets.training.reference.worker job.json", file=sys.stderr)
        return 2
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from llmops_assets.training.reference.job import ReferenceJob
    from llmops_assets.training.reference.log_probs import take_log_probs

    try:
        summary = take_log_probs(ReferenceJob.model_validate_json(Path(arguments[0]).read_text(encoding="utf-8")))
    except LlmopsError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    print(
        f"{summary.pairs} pairs under {summary.reference_sha256[:12]}: mean log-prob {summary.mean_chosen:.2f} chosen, "
        f"{summary.mean_rejected:.2f} rejected",
        flush=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
