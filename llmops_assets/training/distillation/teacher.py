"""The teacher, loaded to be listened to: frozen, in evaluation mode, on the GPU if there is one."""

import os
from dataclasses import dataclass
from typing import cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmops_assets.training.distillation.job import TeacherRef
from llmops_assets.training.distillation.specs import TeacherSpec
from llmops_assets.training.model import load_adapter, load_base_model, load_tokenizer


@dataclass(frozen=True)
class Teacher:
    """A teacher with its own tokenizer. `model` may be a PeftModel, which forwards what is asked of it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device


def load_teacher(ref: TeacherRef, settings: TeacherSpec) -> Teacher:
    """Load a teacher in the precision and quantization of `settings`.

    Raises BaseModelUnavailable, QuantizationUnavailable, WrongBase and CorruptAdapter.
    """
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = load_base_model(ref.base_model, settings.precision, settings.quantization)
    model = base if ref.adapter is None else cast(PreTrainedModel, load_adapter(base, ref.adapter, ref.base_model))
    model.requires_grad_(False).eval()
    if settings.quantization == "none":
        torch.nn.Module.to(model, device)
    return Teacher(model, load_tokenizer(ref.base_model), device)
