"""A model with the adapter in its weights: merged in float32, saved, read back and held against what it was made of."""

from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from llmops_assets.errors import LlmopsError
from llmops_assets.training.adapter_stack import apply_stack
from llmops_assets.training.export.job import ExportJob, Parity
from llmops_assets.training.export.parity import PROBES, compare, probe_logits, probe_rows, require_parity
from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.model import DTYPES, BaseModelUnavailable, load_adapter, load_base_model, load_tokenizer

_SHARD_SIZE = "5GB"


class QuantizedBase(LlmopsError):
    """A merge into weights that quantisation has rounded."""


def merge_model(job: ExportJob, folder: Path) -> Parity:
    """Write base, stack and adapter as one plain model into `folder`, with its config and generation_config.

    A full-parameter result is written as it is, in the precision of the job. The whole of it runs on the CPU and needs
    4 bytes of memory for each parameter. Return how close the files come to the adapter beside its base.

    Raises:
        QuantizedBase: the base's repository holds quantised weights.
        ParityFailed: the files compute something else.
        WrongBase, WrongStack, CorruptAdapter, NotPlainLora: as in `apply_stack`.
    """
    require_plain_base(job.base_model)
    rows = probe_rows(load_tokenizer(job.base_model), job.probes or PROBES)
    reference, without_adapter = _reference_logits(job, rows)
    whole = (*job.adapter.merged, job.adapter)
    model = apply_stack(load_base_model(job.base_model, "fp32"), whole, job.base_model)
    model.to(DTYPES[job.precision]).save_pretrained(folder, max_shard_size=_SHARD_SIZE)  # pyright: ignore[reportArgumentType] - a dtype is what `to` takes
    del model
    # Read back in float32: what is compared are the weights on disk, not the rounding of a forward pass in bfloat16.
    saved = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    parity = compare(reference, probe_logits(saved.eval(), rows), without_adapter)
    require_parity(parity, job.precision, job.name)
    return parity


def require_plain_base(base: BaseModelRef) -> None:
    """Raise QuantizedBase if the base's own weights are quantised (GPTQ, AWQ, bitsandbytes).

    Raises BaseModelUnavailable if it has no configuration.
    """
    local = Path(base.name).is_dir()
    try:
        config = AutoConfig.from_pretrained(base.name, revision=base.revision or "main", local_files_only=local)
    except (OSError, ValueError) as error:
        raise BaseModelUnavailable(f"config.json of {base.name} cannot be read: {error}; check base_model") from error
    if getattr(config, "quantization_config", None) is not None:
        raise QuantizedBase(
            f"base model {base.name} holds quantised weights, and a merge would round the adapter to their grid; set "
            "base_model to the unquantised repository that they were made from, train there (quantization: 4bit still "
            "saves the memory), and merge into that"
        )


def _reference_logits(job: ExportJob, rows: list[list[int]]) -> tuple[list[torch.Tensor], list[torch.Tensor] | None]:
    """Return the logits of the adapter beside its base, and of the base (with what lies merged in it) alone."""
    base, ref = job.base_model, job.adapter
    plain = load_base_model(base, "fp32")
    if ref.kind == "full":
        model: PreTrainedModel | PeftModel = apply_stack(plain, (*ref.merged, ref), base)
        return probe_logits(model.eval(), rows), None
    model = load_adapter(apply_stack(plain, ref.merged, base), ref, base)
    model.eval()
    with model.disable_adapter():
        without_adapter = probe_logits(model, rows)
    return probe_logits(model, rows), without_adapter
