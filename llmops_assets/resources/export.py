"""Runs the export process: a job file in, a folder out, nothing left behind if it is interrupted."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from llmops_assets.errors import LlmopsError
from llmops_assets.resources.supervised_process import SupervisedProcessFailed, run_supervised
from llmops_assets.training.export.job import EXPORT_FILE, ExportJob, ExportResult
from llmops_assets.training.worker_process import COMPLAINT

_GRACE_SECONDS = 10.0


class ExportFailed(LlmopsError):
    """The export process gave up with a sentence of its own."""


def run_export(job: ExportJob, scratch: Path, on_line: Callable[[str], None]) -> ExportResult:
    """Export in a process of its own, whose job file and log lie in `scratch`; return what it wrote.

    Raises:
        ExportFailed: the process says what is wrong.
        SupervisedProcessFailed: it could not say; with the exit code and the last lines of the log.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    job_file = scratch / "job.json"
    job_file.write_text(job.model_dump_json(indent=2), encoding="utf-8")
    offline = {"HF_HUB_OFFLINE": "1"} if Path(job.base_model.name).is_dir() else {}
    try:
        run_supervised(
            [sys.executable, "-m", "llmops_assets.training.export.worker", str(job_file)],
            cwd=scratch,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": "", **offline},
            log_path=scratch / "export.log",
            grace_seconds=_GRACE_SECONDS,
            on_line=on_line,
        )
    except SupervisedProcessFailed as error:
        sentences = [line.removeprefix(COMPLAINT) for line in error.last_lines if line.startswith(COMPLAINT)]
        if sentences:
            raise ExportFailed(sentences[-1]) from error
        raise
    return ExportResult.model_validate_json((job.output_dir / EXPORT_FILE).read_text(encoding="utf-8"))
