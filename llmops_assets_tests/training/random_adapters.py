"""Adapters and whole models that nobody trained: as strong as one likes, and written as training writes them."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from transformers import AutoModelForCausalLM, PreTrainedModel

from llmops_assets.training.adapter_files import write_adapter
from llmops_assets.training.digests import weights_digest
from llmops_assets.training.job import AdapterRef, BaseModelRef
from llmops_assets.training.model import adapter_config, load_base_model
from llmops_assets.training.specs import LORA_TARGETS


def plain_model(base: BaseModelRef) -> PreTrainedModel:
    return load_base_model(base, "fp32").eval()


def random_lora(
    folder: Path, base: BaseModelRef, *, seed: int, merged: tuple[AdapterRef, ...] = (), **config: Any
) -> AdapterRef:
    """A LoRA whose B is random as well as its A, so that it changes what the model says."""
    settings = {"r": 4, "lora_alpha": 8, "target_modules": list(LORA_TARGETS), "task_type": "CAUSAL_LM"} | config
    torch.manual_seed(seed)
    model: Any = get_peft_model(plain_model(base), LoraConfig(**settings))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    tensors = {
        name: tensor.float().clone()
        for name, tensor in get_peft_model_state_dict(model, save_embedding_layers=False).items()
    }
    digest = write_adapter(folder, tensors, adapter_config(model, base))
    return AdapterRef(path=folder, sha256=digest, base_digest=base.digest, merged=merged)


def random_whole_model(folder: Path, base: BaseModelRef, *, seed: int) -> AdapterRef:
    """A model of the base's architecture with weights of its own."""
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(plain_model(base).config).save_pretrained(folder)
    return AdapterRef(path=folder, kind="full", sha256=weights_digest(folder), base_digest=base.digest)


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    """Logits [2, 12, vocabulary] of two fixed rows."""
    ids = torch.arange(24).reshape(2, 12) * 13 % 250
    return model(input_ids=ids, use_cache=False).logits
