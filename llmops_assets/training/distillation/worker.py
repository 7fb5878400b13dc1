"""The recording process: `python -m llmops_assets.training.distillation.worker job.json`.

Exit code 0: teacher_logits.json is written. 1: failed, with a sentence on stderr. 2: bad usage.
"""

import os
import sys
from collections.abc import Sequence

from llmops_assets.training.distillation.job import TeacherLogitsJob
from llmops_assets.training.worker_process import room_and_memory_for, run_worker, smaller_batches

_OTHERWISE = "set teacher.quantization in the recipe, or use a larger GPU"


def main(arguments: Sequence[str]) -> int:
    """Record the teacher that the job file named by the one argument describes, and return the exit code."""
    # Read when torch is imported: threads that spin while they wait cost a shared machine more than they gain.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.update({"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"})
    return run_worker("llmops_assets.training.distillation.worker", arguments, TeacherLogitsJob, _record)


def _record(job: TeacherLogitsJob) -> str:
    relief = smaller_batches(job.spec.batch_size, _OTHERWISE)
    with room_and_memory_for("the teacher's recording", job.output_dir, relief=relief):
        from llmops_assets.training.distillation.teacher_logits import record_teacher

        result = record_teacher(job)
    return (
        f"teacher {result.teacher[:12]}: {result.positions:,} positions, top {result.top_k} of {result.vocabulary:,}, "
        f"tail {result.mean_tail_mass:.2%}, {result.bytes / 2**20:.1f} MiB in {result.seconds:.1f} s"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
