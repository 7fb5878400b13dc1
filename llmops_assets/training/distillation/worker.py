"""The recording process: `python -m llmops_assets.training.distillation.worker job.json`.

Exit code 0: teacher_logits.json is written. 1: failed, with a sentence on stderr.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from llmops_assets.errors import LlmopsError
from llmops_assets.training.distillation.job import TeacherLogitsJob


class BrokenJob(LlmopsError):
    """The job file cannot be read, or does not follow its schema."""


def main(arguments: Sequence[str]) -> int:
    """Record the teacher that the job file named by the one argument describes, and return the exit code."""
    if len(arguments) != 1:
        print("usage: python -m llmops_assets.training.distillation.worker job.json", file=sys.stderr)
        return 2
    # Read when torch is imported: threads that spin while they wait cost a shared machine more than they gain.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.update({"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"})
    try:
        job = _read_job(Path(arguments[0]))
        from llmops_assets.training.distillation.teacher_logits import record_teacher

        result = record_teacher(job)
    except LlmopsError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    print(
        f"teacher {result.teacher[:12]}: {result.positions:,} positions, top {result.top_k} of {result.vocabulary:,}, "
        f"tail {result.mean_tail_mass:.2%}, {result.bytes / 2**20:.1f} MiB in {result.seconds:.1f} s",
        flush=True,
    )
    return 0


def _read_job(path: Path) -> TeacherLogitsJob:
    try:
        return TeacherLogitsJob.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise BrokenJob(f"{path}: {error}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
