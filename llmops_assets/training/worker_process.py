"""What workers beside the training one share at their edge: a job file in, an exit code and a readable error out."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from llmops_assets.errors import LlmopsError
from llmops_assets.training.disk_space import give_room_back, room_for, set_room_aside

COMPLAINT = "error: "
Job = TypeVar("Job", bound=BaseModel)


class BrokenJob(LlmopsError):
    """The job file cannot be read, or does not follow its schema."""


def run_worker(module: str, arguments: Sequence[str], job_type: type[Job], work: Callable[[Job], str]) -> int:
    """Call `work` with the job whose file is the one argument, and print the line that it returns.

    Returns the exit code: 0, 1 after an error of ours, with its sentence as the last line of stderr, 2 on bad usage.
    """
    if len(arguments) != 1:
        print(f"usage: python -m {module} job.json", file=sys.stderr)
        return 2
    try:
        line = work(_read_job(Path(arguments[0]), job_type))
    except LlmopsError as error:
        print(f"{COMPLAINT}{error}", file=sys.stderr, flush=True)
        return 1
    print(line, flush=True)
    return 0


@contextmanager
def room_and_memory_for(what: str, folder: Path, *, relief: str) -> Iterator[None]:
    """Turn a full disk inside the block into DiskFull, and memory that runs out into OutOfMemory; other errors pass.

    Args:
        what: What is made, as the subject of a sentence, e.g. `tiny/sft_rows`.
        folder: Where it is written; a little of its disk is kept free for the sentence about it.
        relief: What to change when memory runs out, as sentences.
    """
    # Imported late: `work` prepares the environment that torch and its kind read when they are imported.
    from llmops_assets.training.memory.out_of_memory import memory_for

    try:
        with room_for(what, folder, "it starts over"), memory_for(what, relief):
            set_room_aside(folder)
            yield
    finally:
        give_room_back(folder)


def smaller_batches(batch_size: int, otherwise: str) -> str:
    """Return the relief of a worker that only measures: fewer rows at once, and what helps if that does not."""
    if batch_size == 1:
        return f"batch_size is 1 already: {otherwise}."
    return f"Lower batch_size, now {batch_size}, in the run config of this asset; if that does not help, {otherwise}."


def _read_job(path: Path, job_type: type[Job]) -> Job:
    try:
        return job_type.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise BrokenJob(f"{path}: {error}") from error
