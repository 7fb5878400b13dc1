"""The process that takes the reference's log-probs: `python -m llmops_assets.training.reference.worker job.json`.

Exit code 0: reference.json is written. 1: failed, with a sentence on stderr. 2: bad usage.
"""

import os
import sys
from collections.abc import Sequence

from llmops_assets.training.process import hide_gpus
from llmops_assets.training.reference.job import ReferenceJob
from llmops_assets.training.worker_process import room_and_memory_for, run_worker, smaller_batches

_OTHERWISE = "set quantization in the recipe's dpo section, or use a larger GPU"


def main(arguments: Sequence[str]) -> int:
    """Measure what the job file named by the one argument asks for and return the exit code."""
    # Read when torch is imported: threads that spin while they wait cost a shared machine more than they gain.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return run_worker("llmops_assets.training.reference.worker", arguments, ReferenceJob, _take)


def _take(job: ReferenceJob) -> str:
    if job.spec.device == "cpu":
        hide_gpus()
    with room_and_memory_for(job.asset, job.output_dir, relief=smaller_batches(job.spec.batch_size, _OTHERWISE)):
        from llmops_assets.training.reference.log_probs import take_log_probs

        summary = take_log_probs(job)
    return (
        f"{summary.pairs} pairs under {summary.reference_sha256[:12]}: mean log-prob {summary.mean_chosen:.2f} chosen, "
        f"{summary.mean_rejected:.2f} rejected"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
