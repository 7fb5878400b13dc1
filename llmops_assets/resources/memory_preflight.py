"""Asked before a training process starts: are there GPUs for its ranks, and does the stage fit into their memory?"""

import os
from collections.abc import Callable, Mapping

from llmops_assets.errors import LlmopsError
from llmops_assets.resources.gpus import Gpu, GpuQueryFailed, visible_gpus
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.memory.estimate import estimate
from llmops_assets.training.memory.report import gigabytes, shortage
from llmops_assets.training.memory.shapes import UnknownShape, shape_of_base


class TooFewGpus(LlmopsError):
    """This machine shows fewer GPUs than the stage has ranks."""


class WillNotFit(LlmopsError):
    """The stage needs more memory than the smallest of its GPUs has free."""


def check_before_start(
    job: TrainingJob, environment: Mapping[str, str], on_line: Callable[[str], None], *, refuse: bool = True
) -> None:
    """Refuse `job` if its ranks lack a GPU, or memory on it; return if it may start, on a GPU or on the CPU.

    `environment` is what the ranks get beside that of this process. Without `refuse`, missing memory is only said: the
    estimate takes every row to be `max_length` long, and one who knows that they are not may try. What could not be
    checked (a base model of unknown shape, a MIG slice) is said through `on_line`, and the run may start. Ray places
    ranks on other machines: there the worker checks for its GPU itself, and memory is not checked before the start.

    Raises TooFewGpus, WillNotFit and, for `device: gpu`, GpuQueryFailed.
    """
    spec = job.spec
    if spec.device == "cpu" or spec.placement == "ray":
        return
    try:
        gpus = visible_gpus({**os.environ, **environment})
    except GpuQueryFailed as error:
        if spec.device == "gpu":
            raise
        on_line(f"GPUs and their memory were not checked: {error}")
        return
    if not gpus and spec.device == "auto":
        return
    if len(gpus) < spec.num_processes:
        raise TooFewGpus(_too_few(job, gpus))
    _check_memory(job, gpus, on_line, refuse=refuse)


def _check_memory(job: TrainingJob, gpus: list[Gpu], on_line: Callable[[str], None], *, refuse: bool) -> None:
    sizes = [(gpu.free, gpu.name) for gpu in gpus[: job.spec.num_processes] if gpu.free is not None]
    if not sizes:
        on_line(f"memory was not checked: the size of {gpus[0].name} is not known")
        return
    try:
        shape = shape_of_base(job.base_model.name, job.base_model.revision)
    except UnknownShape as error:
        on_line(f"memory was not checked: {error}")
        return
    free, name = min(sizes)
    needed = estimate(job.spec, shape).total
    if needed > free:
        sentences = shortage(job.spec, shape, free, len(gpus), where=f"{name}, free now,")
        if refuse:
            raise WillNotFit(f"{job.asset}: {sentences} To try all the same set LLMOPS_MEMORY_CHECK=warn.")
        on_line(f"memory: {sentences} Started all the same (LLMOPS_MEMORY_CHECK=warn).")
        return
    on_line(f"memory: about {gigabytes(needed)} needed per GPU, {gigabytes(free)} free on {name}")


def _too_few(job: TrainingJob, gpus: list[Gpu]) -> str:
    spec = job.spec
    seen = ", ".join(gpu.name for gpu in gpus) or "none"
    return (
        f"{job.asset}: device: {spec.device} with num_processes: {spec.num_processes} needs {spec.num_processes} GPUs, "
        f"this machine shows {len(gpus)} ({seen}; CUDA_VISIBLE_DEVICES="
        f"{os.environ.get('CUDA_VISIBLE_DEVICES', '(not set)')}); lower num_processes and raise gradient_accumulation "
        "by the same factor, or set device: cpu"
    )
