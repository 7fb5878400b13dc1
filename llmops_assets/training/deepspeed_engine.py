"""Starting the training engine, proving that it is the one asked for, and reading full weights out of it."""

import logging
import os
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from transformers import Trainer

from llmops_assets.errors import LlmopsError
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.model import ADAPTER
from llmops_assets.training.process import is_main_rank

_ZERO_OPTIMIZERS = {
    1: "DeepSpeedZeroOptimizer",
    2: "DeepSpeedZeroOptimizer",
    3: "DeepSpeedZeroOptimizer_Stage3",
}


class WrongEngine(LlmopsError):
    """The engine that would train is not the backend of the spec: settings were dropped on the way."""


class MissingDeepspeedConfig(LlmopsError):
    """A ZeRO backend without its DeepSpeed configuration, or with that of another stage."""


def zero_stage(backend: str) -> int:
    """Return the ZeRO stage (Rajbhandari et al. 2019, arXiv 1910.02054) of a backend name, 0 without ZeRO."""
    return int(backend.removeprefix("zero")) if backend.startswith("zero") else 0


def start_engine(job: TrainingJob) -> None:
    """Prepare DeepSpeed for a ZeRO backend; must run before the trainer's arguments and the model are made.

    On the CPU its C++ operators are switched off: torch's AdamW needs none, and building them takes a compiler and a
    minute. There the process group is started here, as accelerate does so for GPUs only.

    Raises MissingDeepspeedConfig.
    """
    stage = zero_stage(job.spec.backend)
    if not stage:
        return
    configured = ((job.deepspeed_config or {}).get("zero_optimization") or {}).get("stage")
    if configured != stage:
        raise MissingDeepspeedConfig(
            f"backend: {job.spec.backend} needs the content of configs/deepspeed/{job.spec.backend}.json in the job, "
            f"found zero_optimization.stage: {configured}"
        )
    on_cpu = not torch.cuda.is_available()
    if on_cpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed
    import deepspeed.ops

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    if on_cpu:
        for name in deepspeed.ops.__compatible_ops__:
            deepspeed.ops.__compatible_ops__[name] = False
        deepspeed.init_distributed("gloo", auto_mpi_discovery=False, verbose=False)


def require_engine(trainer: Trainer, backend: str) -> str:
    """Return the class name of the engine that holds the model; call it when training has begun.

    Raises WrongEngine unless it is the one of `backend`: accelerate drops DeepSpeed in silence when its environment is
    not as it expects.
    """
    wrapped: Any = trainer.model_wrapped
    stage = zero_stage(backend)
    if stage:
        optimizer = type(getattr(wrapped, "optimizer", None)).__name__
        active = trainer.is_deepspeed_enabled and hasattr(wrapped, "zero_optimization_stage")
        if not active or wrapped.zero_optimization_stage() != stage or optimizer != _ZERO_OPTIMIZERS[stage]:
            raise WrongEngine(f"backend: {backend} was asked for, but {type(wrapped).__name__} with {optimizer} runs")
        return optimizer
    if isinstance(wrapped, DistributedDataParallel) != (backend == "ddp"):
        raise WrongEngine(f"backend: {backend} was asked for, but {type(wrapped).__name__} runs")
    return type(wrapped).__name__


def trained_tensors(trainer: Trainer, backend: str, *, main_rank_only: bool = False) -> dict[str, Tensor]:
    """Return what was trained in float32 on the CPU; call it on every rank.

    A LoRA is named as in PEFT's files, a whole model as in its own. Under ZeRO it is read from the optimizer's float32
    masters: a bfloat16 run passes on what it learned in full. With `main_rank_only` the other ranks take part in the
    gathering and get nothing: a whole model once per rank may be more than the host's memory.
    """
    tensors = {}
    for name, parameter in _trained_parameters(trainer):
        full = _master(parameter) if zero_stage(backend) else parameter.detach()
        if is_main_rank() or not main_rank_only:
            tensors[name] = full.detach().float().cpu().clone().contiguous()
    return tensors


def set_master_weights(trainer: Trainer, tensors: dict[str, Tensor]) -> None:
    """Put float32 weights into the masters of a ZeRO engine, which were made from the model's bfloat16 copy."""
    from deepspeed.utils import safe_set_full_fp32_param

    for name, parameter in _trained_parameters(trainer):
        safe_set_full_fp32_param(parameter, tensors[name].to(parameter.device))


def _master(parameter: torch.nn.Parameter) -> Tensor:
    from deepspeed.utils import safe_get_full_fp32_param

    master = safe_get_full_fp32_param(parameter)
    assert master is not None, "the engine has no optimizer state for a trainable parameter"
    return master


def _trained_parameters(trainer: Trainer) -> list[tuple[str, torch.nn.Parameter]]:
    """Return the LoRA of a PEFT model under the names of its files, or all parameters of a whole model."""
    model = trainer.model
    assert model is not None
    named = model.named_parameters()
    if not isinstance(model, PeftModel):
        return list(named)
    return [(name.replace(f".{ADAPTER}.", "."), weights) for name, weights in named if f".{ADAPTER}." in name]
