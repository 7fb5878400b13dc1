"""Memory that runs out while a stage trains, told as what to change instead of as a traceback."""

from llmops_assets.training.job import TrainingJob
from llmops_assets.training.memory.estimate import estimate
from llmops_assets.training.memory.report import advice, gigabytes
from llmops_assets.training.memory.shapes import UnknownShape, shape_of_base

# A run that failed although it was estimated to fit: the way out must save a share of the estimate that shows.
_SAVING = 0.2
_HOST_ALLOCATOR = "DefaultCPUAllocator"


def out_of_memory(error: BaseException, job: TrainingJob) -> str | None:
    """Return sentences with the advice if `error` says that a GPU's or the host's memory ran out, else None."""
    import torch

    on_gpu = isinstance(error, torch.OutOfMemoryError)
    if not on_gpu and not (isinstance(error, RuntimeError) and _HOST_ALLOCATOR in str(error)):
        return None
    if on_gpu and torch.cuda.is_available():
        device = torch.cuda.get_device_properties(torch.cuda.current_device())
        where, size = f"{device.name} with {gigabytes(device.total_memory)}", float(device.total_memory)
    else:
        where, size = "the GPU" if on_gpu else "the host's memory", float("inf")
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    told = f"stage {job.spec.stage} ran out of memory on {where}: {first.rstrip('.')}. "
    try:
        shape = shape_of_base(job.base_model.name, job.base_model.revision)
    except UnknownShape as unknown:
        return f"{told}Lower batch_size and raise gradient_accumulation, or set activation_checkpointing ({unknown})."
    estimated = estimate(job.spec, shape).total
    target = min(size, (1 - _SAVING) * estimated)
    gpus = max(torch.cuda.device_count(), job.spec.num_processes)
    return f"{told}It was estimated at {gigabytes(estimated)}. {advice(job.spec, shape, target, gpus)}"
