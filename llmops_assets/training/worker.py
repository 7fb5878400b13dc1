"""The training process: `torchrun --standalone --nproc_per_node N -m llmops_assets.training.worker job.json`.

Exit code 0: the result is written. 143: stopped by a signal, with a checkpoint. 1: failed; see training_error.json.
"""

import json
import sys
import time
from pathlib import Path

from pydantic import ValidationError

from llmops_assets.errors import LlmopsError
from llmops_assets.training.adapter_files import write_atomically
from llmops_assets.training.process import is_main_rank, prepare_environment
from llmops_assets.training.specs import TrainingJob

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
        return _fail(job, type(error).__name__, str(error))
    except Exception as error:
        _fail(job, type(error).__name__, str(error))
        raise
    finally:
        _leave_process_group()
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


def _fail(job: TrainingJob | None, kind: str, message: str) -> int:
    print(f"{kind}: {message}", file=sys.stderr, flush=True)
    if job is not None and is_main_rank():
        job.output_dir.mkdir(parents=True, exist_ok=True)
        payload = json.dumps({"error": kind, "message": message}, indent=2)
        write_atomically(job.output_dir / ERROR_FILE, payload.encode("utf-8"))
    return 1


def _leave_process_group() -> None:
    """A process group that is still open at exit aborts some two-rank runs after their result is written."""
    if (torch := sys.modules.get("torch")) is not None:
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
