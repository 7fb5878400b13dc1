"""Whether a run fits the place that it is about to be sent to; asked before anything of that place is taken."""

from dataclasses import dataclass

from llmops_assets.errors import LlmopsError
from llmops_assets.launchers.run_demand import RunDemand, gpus_of
from llmops_assets.recipe import BaseModelSpec
from llmops_assets.training.memory.estimate import estimate
from llmops_assets.training.memory.report import parse_size, shortage
from llmops_assets.training.memory.shapes import UnknownShape, shape_of_base
from llmops_assets.training.specs import AnyStageSpec


class RunRefused(LlmopsError):
    """The run asks for more than a run can get where its route leads."""


@dataclass(frozen=True)
class Offer:
    """What one run gets from a launcher, as `offers` in dagster.yaml says; what is not said is not checked.

    Attributes:
        gpus: GPUs of the machine, pod or container that the run gets.
        gpu_memory: Memory of each of them, as `80GB` or `80GiB`.
    """

    gpus: int | None = None
    gpu_memory: str | None = None


def admit(demand: RunDemand, offer: Offer, launcher: str) -> None:
    """Let a run pass that `offer` can serve.

    Stages with `placement: ray` take their GPUs elsewhere and are not judged here. Neither is the memory of a base
    model whose config is not on this machine: the trainer asks again where the GPU is.

    Raises:
        RunRefused: some stage wants more GPUs or more memory; the message names it, and what to change.
        BadSize: `gpu_memory` is no size.
    """
    for op_name, spec in demand.stages.items():
        if spec.placement != "local" or spec.device == "cpu":
            continue
        asset, where = op_name.replace("__", "/"), f"run_launcher.config.launchers.{launcher}.offers in dagster.yaml"
        if offer.gpus is not None and gpus_of(spec) > offer.gpus:
            raise RunRefused(
                f"{asset} asks for {gpus_of(spec)} GPUs (device: gpu, num_processes: {spec.num_processes}), a run of "
                f"launcher '{launcher}' gets {offer.gpus}. Lower num_processes and raise gradient_accumulation by the "
                f"same factor, route the pool elsewhere, or raise what the launcher gives ({where})."
            )
        if offer.gpu_memory is not None and op_name in demand.bases:
            missing = _missing_memory(spec, demand.bases[op_name], offer, parse_size(offer.gpu_memory), launcher)
            if missing is not None:
                raise RunRefused(f"{asset}: {missing} If the GPUs there are larger, say so ({where}).")


def _missing_memory(spec: AnyStageSpec, base: BaseModelSpec, offer: Offer, available: int, launcher: str) -> str | None:
    try:
        shape = shape_of_base(base.location(), base.revision)
    except UnknownShape:
        return None
    if estimate(spec, shape).total <= available:
        return None
    return shortage(spec, shape, available, offer.gpus or spec.num_processes, where=f"one of launcher '{launcher}'")
