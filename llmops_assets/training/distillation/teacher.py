"""The teacher, loaded to be listened to: frozen, in evaluation mode, on the GPU if there is one."""

import os
from dataclasses import dataclass
from typing import cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmops_assets.training.distillation.job import TeacherRef
from llmops_assets.training.distillation.specs import AnsweringSpec, RecordingSpec
from llmops_assets.training.model import load_tokenizer
from llmops_assets.training.policy import device_of_process, frozen_policy


@dataclass(frozen=True)
class Teacher:
    """A teacher with its own tokenizer. `model` may be a PeftModel, which forwards what is asked of it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device


def load_teacher(ref: TeacherRef, spec: RecordingSpec | AnsweringSpec) -> Teacher:
    """Load a teacher in the precision and quantization of `spec`.

    Raises BaseModelUnavailable, QuantizationUnavailable, WrongBase, WrongStack and CorruptAdapter.
    """
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    policy = frozen_policy(ref.base_model, ref.adapter, spec.precision, spec.quantization)
    device = device_of_process()
    if spec.quantization == "none":
        torch.nn.Module.to(policy, device)
    return Teacher(cast(PreTrainedModel, policy), load_tokenizer(ref.base_model), device)
