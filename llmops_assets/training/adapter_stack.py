"""The stack under an adapter: what was merged into the base, or replaced its weights, before that adapter began."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from llmops_assets.errors import LlmopsError
from llmops_assets.training.adapter_files import WEIGHTS_FILE, CorruptAdapter, WrongBase, verify_adapter
from llmops_assets.training.digests import NoWeights, weights_digest
from llmops_assets.training.job import AdapterRef, BaseModelRef
from llmops_assets.training.lora_layers import lora_layers, lora_scale


class WrongStack(LlmopsError):
    """Adapters are stacked in an order, or on a base, on which they were not trained."""


def apply_stack(model: PreTrainedModel, merged: tuple[AdapterRef, ...], base: BaseModelRef) -> PreTrainedModel:
    """Return the model that a stack makes of the plain base `model`: LoRAs merged in, whole models loaded.

    All products B A of the stack are added to a weight in float32 and rounded to its dtype once. A whole model
    (kind full) takes the place of everything below it. `model` is changed in place, or given up for the one returned.
    Works under ZeRO-3 too, where every rank must call it.

    Args:
        model: The base as `load_base_model` returns it, not quantised.
        merged: `AdapterRef.merged` of an adapter, oldest first; with the adapter itself at its end, the stack is what
            the adapter computes.
        base: What the adapters must have been trained on.

    Raises:
        WrongBase: an entry was trained on another base.
        WrongStack: an entry was trained on another stack than the one below it, or the base is quantised.
        CorruptAdapter: a file is missing, or not the bytes that its reference names, or does not fit the model.
        NotPlainLora: a LoRA has effects beside B A.
    """
    require_order(merged, base)
    if not merged:
        return model
    if getattr(model, "is_quantized", False):
        raise WrongStack(
            f"{base.name} was loaded quantised, and merging {merged[-1].path} into rounded weights would round what it "
            "learned; set quantization: none, or export the stack as a model of its own (`llmops export --merge`) and "
            "name that folder as base_model"
        )
    whole = [place for place, ref in enumerate(merged) if ref.kind == "full"]
    if whole:
        model = _load_whole(model, merged[whole[-1]], base)
    _merge(model, merged[whole[-1] + 1 :] if whole else merged, base)
    return model


def require_order(stack: tuple[AdapterRef, ...], base: BaseModelRef) -> None:
    """Raise WrongBase or WrongStack unless each entry was trained on `base` with the entries before it."""
    for place, ref in enumerate(stack):
        if ref.base_digest != base.digest:
            raise WrongBase(
                f"{ref.path} was trained on base {ref.base_digest[:16]}, but {base.name} is {base.digest[:16]}; use "
                "its own base, or train the chain again on this one"
            )
        if ref.kind == "lora" and _digests(ref.merged) != _digests(stack[:place]):
            raise WrongStack(
                f"{ref.path} was trained over {_names(ref.merged)}, but here it would lie over "
                f"{_names(stack[:place])}; stack adapters in the order in which they were merged, oldest first"
            )


def verify_whole_model(ref: AdapterRef, base: BaseModelRef) -> None:
    """Check that the folder of a full-parameter result holds the weights that `ref` names.

    Raises WrongBase and CorruptAdapter.
    """
    if ref.base_digest != base.digest:
        raise WrongBase(
            f"model {ref.path} was trained from base {ref.base_digest[:16]}, but the job's base {base.name} is "
            f"{base.digest[:16]}; use its own base, or train it again from this one"
        )
    try:
        found = weights_digest(ref.path)
    except NoWeights as error:
        raise CorruptAdapter(f"{ref.path}: no *.safetensors file there; materialize it again") from error
    if found != ref.sha256:
        raise CorruptAdapter(
            f"{ref.path}: digest of the weights is {found[:16]}, expected {ref.sha256[:16]}; a file was changed or cut "
            "after it was written, materialize it again"
        )


def _load_whole(model: PreTrainedModel, ref: AdapterRef, base: BaseModelRef) -> PreTrainedModel:
    verify_whole_model(ref, base)
    # The base's own configuration: what was chosen when it was loaded (attention, cache) stays chosen.
    try:
        # transformers annotates the model alone; with output_loading_info a report comes with it.
        loaded, report = cast(
            tuple[PreTrainedModel, dict[str, Any]],
            type(model).from_pretrained(
                ref.path,
                config=model.config,
                dtype=model.dtype,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            ),
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise CorruptAdapter(_unfit(ref, base, str(error).strip().splitlines()[0])) from error
    # Without this, a weight that is not in the file would keep random values.
    for key in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if names := sorted(str(name) for name in report[key]):
            raise CorruptAdapter(_unfit(ref, base, f"{key.replace('_', ' ')}: {names[0]}"))
    return loaded


def _merge(model: PreTrainedModel, refs: tuple[AdapterRef, ...], base: BaseModelRef) -> None:
    deltas: dict[str, list[tuple[AdapterRef, Tensor, Tensor, float]]] = defaultdict(list)
    for ref in refs:
        config = verify_adapter(ref, base)
        for name, layer in lora_layers(load_file(ref.path / WEIGHTS_FILE), config, ref.path).items():
            deltas[name].append((ref, layer.a, layer.b, lora_scale(config)))
    modules = dict(model.named_modules())
    embedding = getattr(model.get_input_embeddings(), "weight", None)
    for name, pairs in deltas.items():
        module = modules.get(name)
        if not isinstance(module, nn.Linear | Conv1D):
            raise CorruptAdapter(_unfit(pairs[0][0], base, f"the base has no linear layer {name}"))
        if module.weight is embedding:
            raise WrongStack(
                f"{pairs[0][0].path}: its layer {name} shares its weights with the embedding of {base.name}, and "
                f"merging would change both; leave {name.rsplit('.', 1)[-1]} out of lora_targets"
            )
        with _gathered(module.weight) as weight:
            if weight is not None:
                _add(weight, pairs, base, transposed=isinstance(module, Conv1D))


@torch.no_grad()
def _add(weight: Tensor, pairs: list[Any], base: BaseModelRef, *, transposed: bool) -> None:
    total = weight.detach().to(torch.float32, copy=True)
    for ref, a, b, scale in pairs:
        delta = b.to(total.device, torch.float32) @ a.to(total.device, torch.float32) * scale
        delta = delta.T if transposed else delta
        if delta.shape != total.shape:
            raise CorruptAdapter(_unfit(ref, base, f"shape {list(delta.shape)} meets a weight of {list(total.shape)}"))
        total += delta
    weight.copy_(total)


@contextmanager
def _gathered(parameter: Tensor) -> Iterator[Tensor | None]:
    """Yield the whole weight to change; under ZeRO-3 on rank 0 alone, whose change reaches every rank's share."""
    if not hasattr(parameter, "ds_id"):
        yield parameter.data
        return
    from deepspeed import comm, zero

    with zero.GatheredParameters([parameter], modifier_rank=0):
        yield parameter.data if comm.get_rank() == 0 else None


def _digests(stack: tuple[AdapterRef, ...]) -> list[str]:
    return [ref.sha256 for ref in stack]


def _names(stack: tuple[AdapterRef, ...]) -> str:
    return "the bare base" if not stack else " + ".join(f"{ref.kind} {ref.sha256[:12]}" for ref in stack)


def _unfit(ref: AdapterRef, base: BaseModelRef, why: str) -> str:
    return f"{ref.path} does not fit base {base.name}: {why}; materialize it again on this base"
