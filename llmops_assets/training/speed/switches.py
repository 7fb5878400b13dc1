"""What a spec asks for to make training fast, switched on in the model and its trainer; and how fast that is."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from peft import PeftModel
from transformers import Trainer
from trl.trainer.dpo_trainer import DPOTrainer

from llmops_assets.training.device import trains_on_gpu
from llmops_assets.training.job import TrainingJob
from llmops_assets.training.memory.shapes import UnknownShape, shape_of_base
from llmops_assets.training.rows import TrainingRows
from llmops_assets.training.specs import DpoSpec
from llmops_assets.training.speed.attention_choice import attention_implementation
from llmops_assets.training.speed.flops import flops_per_seen_token, mfu, peak_bf16_flops
from llmops_assets.training.speed.frozen_head import frozen_head
from llmops_assets.training.speed.fused_lora import fuse_lora
from llmops_assets.training.speed.layer_compile import compile_layers
from llmops_assets.training.speed.pair_batching import batch_pairs


def attention_of(job: TrainingJob) -> str:
    """Return the attention implementation to load the model of `job` with. Raises AttentionUnavailable."""
    stage = job.spec.model_dump()
    # A micro batch of padding-free rows is one row of documents, as a packed one is.
    packed = stage["stage"] == "cpt" or stage.get("batching") in ("packed", "padding_free")
    return attention_implementation(
        job.spec.attention, packed=packed, precision=job.spec.precision, on_gpu=trains_on_gpu(job.spec)
    )


def head_of(job: TrainingJob) -> AbstractContextManager[None]:
    """Return the context in which the LM head of `job` computes as its spec asks."""
    return frozen_head() if job.spec.fused_lm_head else nullcontext()


def switch_on(trainer: Trainer, job: TrainingJob) -> dict[str, float]:
    """Change the trainer's model as the spec asks; returns how many layers were taken hold of, for the run card.

    Raises CompilerUnavailable and PrefixNotSharable.
    """
    spec, model = job.spec, trainer.model
    assert model is not None
    counts: dict[str, float] = {}
    if isinstance(model, PeftModel) and spec.fused_lora:
        counts["fused_lora_layers"] = float(fuse_lora(model))
    if isinstance(spec, DpoSpec):
        assert isinstance(trainer, DPOTrainer)
        batch_pairs(trainer, spec.batching)
    if spec.compile == "layers":
        counts["compiled_layers"] = float(compile_layers(model))
    return counts


def utilisation(job: TrainingJob, rows: TrainingRows) -> Callable[[float], float] | None:
    """Return the function from tokens per second of all ranks to MFU.

    None on CPUs, for models of unknown shape, and for rows that were prepared before their texts were counted.
    """
    if not trains_on_gpu(job.spec) or (peak := peak_bf16_flops(torch.cuda.get_device_name())) is None:
        return None
    try:
        shape = shape_of_base(job.base_model.name, job.base_model.revision)
    except UnknownShape:
        return None
    if (flops := flops_per_seen_token(shape, job.spec, rows.counts | rows.texts)) is None:
        return None
    peaks = peak * job.spec.num_processes
    return lambda tokens_per_second: mfu(flops * tokens_per_second, 1.0, peaks) or 0.0
