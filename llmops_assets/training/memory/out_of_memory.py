"""Memory that runs out, told as what to change instead of as a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

from llmops_assets.errors import LlmopsError
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.memory.estimate import estimate
from llmops_assets.training.memory.report import advice, gigabytes
from llmops_assets.training.memory.shapes import UnknownShape, shape_of_base

# A run that failed although it was estimated to fit: the way out must save a share of the estimate that shows.
_SAVING = 0.2
_HOST_ALLOCATOR = "DefaultCPUAllocator"


class OutOfMemory(LlmopsError):
    """A process that trains nothing ran out of memory, with what to change."""


@contextmanager
def memory_for(what: str, relief: str) -> Iterator[None]:
    """Turn memory that runs out inside the block, Python's own included, into OutOfMemory; other errors pass.

    Args:
        what: What is made, as the subject of a sentence, e.g. `the teacher's recording`.
        relief: What to change, as sentences.
    """
    try:
        yield
    except Exception as error:
        shortage = _shortage(error)
        if shortage is None and not isinstance(error, MemoryError):
            raise
        where = "the host's memory" if shortage is None else shortage[0]
        raise OutOfMemory(f"{what} ran out of memory on {where}: {_first_line(error)}. {relief}") from error


def out_of_memory(error: BaseException, job: TrainingJob) -> str | None:
    """Return sentences with the advice if `error` says that a GPU's or the host's memory ran out, else None."""
    shortage = _shortage(error)
    if shortage is None:
        return None
    import torch

    where, size = shortage
    told = f"stage {job.spec.stage} ran out of memory on {where}: {_first_line(error)}. "
    try:
        shape = shape_of_base(job.base_model.name, job.base_model.revision)
    except UnknownShape as unknown:
        return f"{told}Lower batch_size and raise gradient_accumulation, or set activation_checkpointing ({unknown})."
    estimated = estimate(job.spec, shape).total
    target = min(size, (1 - _SAVING) * estimated)
    gpus = max(torch.cuda.device_count(), job.spec.num_processes)
    return f"{told}It was estimated at {gigabytes(estimated)}. {advice(job.spec, shape, target, gpus)}"


def _shortage(error: BaseException) -> tuple[str, float] | None:
    """Return where memory ran out and how many bytes there are, if torch's allocators say so."""
    import torch

    on_gpu = isinstance(error, torch.OutOfMemoryError)
    if not on_gpu and not (isinstance(error, RuntimeError) and _HOST_ALLOCATOR in str(error)):
        return None
    if on_gpu and torch.cuda.is_available():
        device = torch.cuda.get_device_properties(torch.cuda.current_device())
        return f"{device.name} with {gigabytes(device.total_memory)}", float(device.total_memory)
    return "the GPU" if on_gpu else "the host's memory", float("inf")


def _first_line(error: BaseException) -> str:
    told = str(error).strip()
    return told.splitlines()[0].rstrip(".") if told else type(error).__name__
