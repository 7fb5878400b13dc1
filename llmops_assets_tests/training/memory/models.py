"""Tiny real models with LoRA, the shape and the spec that describe them, and the bytes of their tensors."""

from collections.abc import Iterable
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from llmops_assets.training.memory.shapes import ModelShape, shape_of_config
from llmops_assets.training.specs import AnyStageSpec, DpoSpec, SftSpec

DIMENSIONS = {
    "vocab_size": 400,
    "hidden_size": 48,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
CLASSES: dict[str, Any] = {"qwen2": (Qwen2Config, Qwen2ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}


def shape(family: str = "qwen2", *, tied: bool = True, **dimensions: Any) -> ModelShape:
    config = {"model_type": family, "tie_word_embeddings": tied, **(DIMENSIONS | dimensions)}
    return shape_of_config(config, "test")


def model(
    family: str = "qwen2", *, tied: bool = True, dtype: torch.dtype = torch.float32, **dimensions: Any
) -> PreTrainedModel:
    config, kind = CLASSES[family]
    return kind(config(tie_word_embeddings=tied, **(DIMENSIONS | dimensions))).to(dtype)


def sft(**settings: Any) -> SftSpec:
    return SftSpec.model_validate({"max_steps": 1, "learning_rate": 0.1, **settings})


def dpo(**settings: Any) -> DpoSpec:
    return DpoSpec.model_validate({"max_steps": 1, "learning_rate": 0.1, **settings})


def with_lora(base: PreTrainedModel, spec: AnyStageSpec, *, fp32: bool = True) -> PeftModel:
    config = LoraConfig(
        r=spec.lora_r, target_modules=sorted(spec.lora_targets), lora_dropout=spec.lora_dropout, task_type="CAUSAL_LM"
    )
    wrapped = get_peft_model(base, config, autocast_adapter_dtype=fp32)
    assert isinstance(wrapped, PeftModel)
    return wrapped.train()


def storage_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of all different storages under `tensors`."""
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())
