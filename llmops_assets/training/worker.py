"""The training process: `torchrun --standalone --nproc_per_node N -m llmops_assets.training.worker job.json`.

Exit code 0: the result is written. 143: stopped by a signal, with a checkpoint. 1: failed; see training_error.json.
"""

import json
import os
import sys
import time
from pathlib import Path

from pydantic import ValidationError

from llmops_assets.errors import LlmopsError
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.process import is_main_rank, leave_process_group, prepare_environment

ERROR_FILE = "training_error.json"


class BrokenJob(LlmopsError):
    """The job file cannot be read."""


def main(arguments: list[str]) -> int:
    """Run the job file named by the one argument and return the exit code."""
    began = time.monotonic()
    job = None
    try:
        job = _read_job(arguments)
        _remove_old_outcome(job.output_dir)
        prepare_environment(job.spec)
        # torch and its kind read the environment when they are imported, and take seconds: not before this line.
        from llmops_assets.training.run import train
        from llmops_assets.training.stopping import STOPPED_EXIT_CODE

        if is_main_rank():
            print(f"libraries loaded in {time.monotonic() - began:.1f} s", flush=True)
        result = train(job)
    except LlmopsError as error:
        return _fail(job, type(error).__name__, str(error), replace=True)
    except Exception as error:
        if job is not None and (sentences := _out_of_memory(error, job)) is not None:
            return _fail(job, "OutOfMemory", sentences, replace=True)
        _fail(job, type(error).__name__, str(error), replace=False)
        raise
    finally:
        leave_process_group()
    return STOPPED_EXIT_CODE if result is None else 0


def _read_job(arguments: list[str]) -> TrainingJob:
    if len(arguments) != 1:
        raise BrokenJob("usage: python -m llmops_assets.training.worker job.json")
    path = Path(arguments[0])
    try:
        return TrainingJob.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise BrokenJob(f"{path}: {error}") from error


def _remove_old_outcome(output_dir: Path) -> None:
    """An outcome of an earlier try must not be taken for that of this one."""
    if is_main_rank():
        output_dir.mkdir(parents=True, exist_ok=True)
        for name in ("training_result.json", ERROR_FILE):
            (output_dir / name).unlink(missing_ok=True)


def _out_of_memory(error: Exception, job: TrainingJob) -> str | None:
    from llmops_assets.training.memory.out_of_memory import out_of_memory

    return out_of_memory(error, job)


def _fail(job: TrainingJob | None, kind: str, message: str, *, replace: bool) -> int:
    # The file first: on a full disk the log may take no more lines, and printing fails.
    if job is not None:
        _record(job.output_dir / ERROR_FILE, kind, message, replace=replace)
    print(f"{kind}: {message}", file=sys.stderr, flush=True)
    return 1


def _record(path: Path, kind: str, message: str, *, replace: bool) -> None:
    """Write the error file. A sentence replaces what another rank wrote; the noise of a lost peer does not."""
    if path.exists() and not replace:
        return
    temporary = path.with_name(f".{ERROR_FILE}.{os.environ.get('RANK', '0')}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"error": kind, "message": message}, indent=2), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:  # the sentence itself follows, on stderr and so in the log
        temporary.unlink(missing_ok=True)
        print(f"{path} could not be written: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
