"""The policy that a stage starts from, and policies that are only measured: base, stack, adapter, in that order."""

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from llmops_assets.errors import LlmopsError
from llmops_assets.training.adapter_stack import apply_stack
from llmops_assets.training.deepspeed_engine import zero_stage
from llmops_assets.training.job import AdapterRef, BaseModelRef, TrainingJob
from llmops_assets.training.model import load_adapter, load_base_model, new_adapter

Policy = PeftModel | PreTrainedModel


class CannotStackQuantized(LlmopsError):
    """A LoRA shall be merged into, or trained over, weights that quantisation has rounded."""


def starting_policy(job: TrainingJob, attention: str = "sdpa") -> Policy:
    """Load what `job` trains: a LoRA, new or continued, or all parameters.

    A parent LoRA is continued, or with `adapter_mode: merge_then_new` merged into the base under a new LoRA. A parent
    that is a whole model takes the place of the base. A full fine-tuning begins with all of its parent merged in.

    Raises WrongBase, WrongStack, CorruptAdapter, WrongAdapterShape and CannotStackQuantized.
    """
    spec, parent = job.spec, job.parent
    below = stack_below(job)
    if below and spec.quantization != "none":
        raise CannotStackQuantized(
            f"quantization: {spec.quantization} rounds the base, and {below[-1].path} would be merged into it; set "
            "quantization: none, or adapter_mode: continue for a LoRA that was trained over the bare base"
        )
    # Without an engine that keeps float32 masters, steps on bfloat16 weights would round to nothing.
    exact = spec.finetuning == "full" and not zero_stage(spec.backend)
    base = load_base_model(job.base_model, "fp32" if exact else spec.precision, spec.quantization, attention)
    model = apply_stack(base, below, job.base_model)
    if spec.finetuning == "full":
        return model.requires_grad_(True)
    fp32 = zero_stage(spec.backend) != 3
    if parent is None or parent in below:
        return new_adapter(model, spec, fp32=fp32)
    return load_adapter(model, parent, job.base_model, continued_by=spec, fp32=fp32)


def stack_below(job: TrainingJob) -> tuple[AdapterRef, ...]:
    """Return what lies in the weights under the LoRA that `job` trains, or under the weights of a full fine-tuning."""
    spec, parent = job.spec, job.parent
    if parent is None:
        return ()
    merges = parent.kind == "full" or spec.adapter_mode == "merge_then_new" or spec.finetuning == "full"
    return (*parent.merged, parent) if merges else parent.merged


def frozen_policy(
    base: BaseModelRef, ref: AdapterRef | None, precision: str, quantization: str = "none", attention: str = "sdpa"
) -> Policy:
    """Load a policy to be measured: the bare base (None), or `ref` over its stack; nothing of it is trained.

    Raises WrongBase, WrongStack and CorruptAdapter.
    """
    model = load_base_model(base, precision, quantization, attention)
    if ref is None:
        policy: Policy = model
    elif ref.kind == "full":
        policy = apply_stack(model, (*ref.merged, ref), base)
    else:
        policy = load_adapter(apply_stack(model, ref.merged, base), ref, base)
    policy.requires_grad_(False)
    return policy.eval()


def device_of_process() -> torch.device:
    """Return the GPU of this rank, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
