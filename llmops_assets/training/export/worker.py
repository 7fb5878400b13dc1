"""The export process: `python -m llmops_assets.training.export.worker job.json`.

Exit code 0: the folder is there. 1: it is not, and the last line says why. 2: bad usage.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from llmops_assets.errors import LlmopsError
from llmops_assets.training.export.job import ExportJob

COMPLAINT = "error: "


class BrokenJob(LlmopsError):
    """The job file cannot be read."""


def main(arguments: Sequence[str]) -> int:
    """Run the job file named by the only argument and return the exit code."""
    if len(arguments) != 1:
        print("usage: python -m llmops_assets.training.export.worker job.json", file=sys.stderr)
        return 2
    os.environ.update({"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "DO_NOT_TRACK": "1"})
    try:
        job = _read_job(Path(arguments[0]))
        # torch and its kind take seconds to import: not before the job is known to be one.
        from transformers.utils import logging

        from llmops_assets.training.export.run import export

        logging.disable_progress_bar()
        result = export(job)
    except LlmopsError as error:
        print(f"{COMPLAINT}{error}", file=sys.stderr, flush=True)
        return 1
    print(f"{result.name}: {result.kind} in {result.precision}, {len(result.files)} files", flush=True)
    return 0


def _read_job(path: Path) -> ExportJob:
    try:
        return ExportJob.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise BrokenJob(f"{path}: {error}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
