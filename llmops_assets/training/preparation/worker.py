"""The preparation process: `python -m llmops_assets.training.preparation.worker job.json`.

Exit code 0: rows.json is written. 1: failed, with a sentence on stderr. 2: bad usage.
"""

import os
import sys
from collections.abc import Sequence

from llmops_assets.training.preparation.job import PreparationJob
from llmops_assets.training.worker_process import room_and_memory_for, run_worker

_RELIEF = "Stop what else takes memory on this machine, or prepare the rows on one with more of it."


def main(arguments: Sequence[str]) -> int:
    """Prepare the rows of the job file named by the one argument and return the exit code."""
    os.environ.update({"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"})
    return run_worker("llmops_assets.training.preparation.worker", arguments, PreparationJob, _prepare)


def _prepare(job: PreparationJob) -> str:
    with room_and_memory_for(job.asset, job.output_dir, relief=_RELIEF):
        from llmops_assets.training.preparation.prepare import prepare

        counts = prepare(job)
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
