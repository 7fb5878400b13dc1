"""The export process: `python -m llmops_assets.training.export.worker job.json`.

Exit code 0: the folder is there. 1: it is not, and the last line says why. 2: bad usage.
"""

import os
import sys
from collections.abc import Sequence

from llmops_assets.training.export.job import ExportJob
from llmops_assets.training.worker_process import run_worker


def main(arguments: Sequence[str]) -> int:
    """Run the job file named by the only argument and return the exit code."""
    os.environ.update({"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "DO_NOT_TRACK": "1"})
    return run_worker("llmops_assets.training.export.worker", arguments, ExportJob, _export)


def _export(job: ExportJob) -> str:
    # torch and its kind take seconds to import: not before the job is known to be one.
    from transformers.utils import logging

    from llmops_assets.training.export.run import export
    from llmops_assets.training.memory.out_of_memory import memory_for

    logging.disable_progress_bar()
    # Its output folder appears whole, and says itself that the disk is full.
    with memory_for(f"the export of {job.name}", _relief(job)):
        result = export(job)
    return f"{result.name}: {result.kind} in {result.precision}, {len(result.files)} files"


def _relief(job: ExportJob) -> str:
    alone = ", or leave out --merge: the adapter alone takes little" if job.merge else ""
    return f"Export on a machine with more memory{alone}."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
