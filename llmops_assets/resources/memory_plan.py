"""`llmops plan`: the GPU memory of a lane's stages before anything is started, or even downloaded."""

from collections.abc import Iterator
from pathlib import Path

from llmops_assets.errors import LlmopsError
from llmops_assets.recipe import Recipe
from llmops_assets.resources.gpus import visible_gpus
from llmops_assets.training.memory.estimate import estimate
from llmops_assets.training.memory.report import backend_matrix, gigabytes, lines_table, parse_size, shortage
from llmops_assets.training.memory.shapes import ModelShape, shape_of_base, shape_of_file
from llmops_assets.training.specs import AnyStageSpec


class NothingToPlan(LlmopsError):
    """The lane has no such stage, or the machine no GPU whose memory could be taken."""


def plan_lines(recipe: Recipe, *, gpu: str, gpus: int, stage: str | None, config: Path | None) -> Iterator[str]:
    """Yield the plan as text: per stage the causes of memory use, all backends, and advice if it does not fit.

    `gpu` is a size (24GB, 80GiB) or `auto`, `gpus` how many could be ranks; `config` is a config.json to use instead of
    the base model's.

    Raises NothingToPlan, BadSize, UnknownShape and GpuQueryFailed.
    """
    available, where = _size(gpu)
    base_model = recipe.base_model
    shape = shape_of_file(config) if config is not None else shape_of_base(base_model.location(), base_model.revision)
    base = str(config) if config is not None else base_model.name
    yield f"{recipe.name} on {base}: {shape.family}, {shape.parameters / 1e9:.3f} billion weights; {where}"
    for name, spec in _stages(recipe, stage):
        yield ""
        yield from _stage_lines(name, spec, shape, available, gpus)
    yield ""
    yield (
        "Estimated, not measured: rows of max_length throughout, attention: auto as on a GPU without flash attention, "
        "TRL's fused LM head."
    )


def _stage_lines(name: str, spec: AnyStageSpec, shape: ModelShape, available: float, gpus: int) -> Iterator[str]:
    found = estimate(spec, shape)
    trained = "all weights" if spec.finetuning == "full" else f"LoRA r {spec.lora_r}"
    yield (
        f"{name}: {spec.backend} x{spec.num_processes}, {spec.precision}, quantization {spec.quantization}, batch_size "
        f"{spec.batch_size} x max_length {spec.max_length}, {trained}, activation_checkpointing "
        f"{str(spec.activation_checkpointing).lower()}"
    )
    yield lines_table(found)
    yield f"  total per GPU by backend and quantization (+ fits into {gigabytes(available)}, - does not):"
    yield backend_matrix(spec, shape, available)
    if found.total > available:
        yield "  " + shortage(spec, shape, available, gpus, where="the GPU")
    else:
        yield f"  It fits, with {gigabytes(available - found.total)} to spare."


def _stages(recipe: Recipe, only: str | None) -> list[tuple[str, AnyStageSpec]]:
    stages = [(name, spec) for name, spec in recipe.stages.items() if only in (None, name)]
    if not stages:
        raise NothingToPlan(f"recipe {recipe.name} has no stage {only or 'at all'}; name one that it has")
    return stages


def _size(gpu: str) -> tuple[float, str]:
    if gpu.strip().lower() != "auto":
        size = parse_size(gpu)
        return size, f"GPUs with {gigabytes(size)}"
    sizes = [(found.total, found.name) for found in visible_gpus() if found.total is not None]
    if not sizes:
        raise NothingToPlan("--gpu auto: nvidia-smi shows no GPU on this machine; give a size such as 24GB")
    size, name = min(sizes)
    return size, f"{name} with {gigabytes(size)}, the smallest of {len(sizes)}"
