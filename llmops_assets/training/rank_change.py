"""A continued LoRA that gets a larger rank, or another scale, and starts out as the same function."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmops_assets.training.adapter_files import WrongAdapterShape
from llmops_assets.training.lora_layers import LoraLayer, lora_layers, lora_scale, lora_tensors
from llmops_assets.training.specs import StageSpec


def grow_rank(
    tensors: dict[str, Tensor], config: dict[str, Any], spec: StageSpec, source: Path = Path("the parent adapter")
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and adapter_config.json of the same function with rank `spec.lora_r` and `spec.lora_alpha`.

    A [r, in] gets rows drawn from `spec.seed` as a new LoRA's are, B [out, r] gets zero columns, so B A is what it was
    and the new directions can learn. What becomes of the scale is taken back in B: bit for bit where the quotient of
    the two scales is a power of two (alpha = 2 r at both ranks, say), else to float32's rounding.

    Args:
        tensors: Named as in PEFT's files, float32.
        config: The adapter_config.json that belongs to them.
        source: Named by errors.

    Raises:
        WrongAdapterShape: the spec asks for a smaller rank; what the adapter learned would not fit.
        NotPlainLora: as in `lora_layers`.
    """
    rank, wanted = int(config["r"]), spec.lora_r
    if wanted < rank:
        raise WrongAdapterShape(
            f"lora_r: {wanted} is less than rank {rank} of {source}; a continued LoRA is never shrunk, as that would "
            f"throw away what it learned. Set lora_r: {rank} or more, or adapter_mode: merge_then_new, which merges "
            "the parent into the base and starts a LoRA of any rank"
        )
    layers = lora_layers(tensors, config, source)
    ratio = lora_scale(config) / lora_scale(config, r=wanted, alpha=spec.lora_alpha)
    draws = torch.Generator().manual_seed(spec.seed)
    grown = {name: _grown(layer, wanted, ratio, draws) for name, layer in layers.items()}
    return lora_tensors(grown), config | {"r": wanted, "lora_alpha": spec.lora_alpha}


def _grown(layer: LoraLayer, rank: int, ratio: float, draws: torch.Generator) -> LoraLayer:
    added, width = rank - layer.a.shape[0], layer.a.shape[1]
    # PEFT's own first A: kaiming_uniform_ with a = sqrt(5), which is uniform within 1 / sqrt(in).
    bound = 1 / math.sqrt(width)
    rows = torch.empty(added, width).uniform_(-bound, bound, generator=draws).to(layer.a.dtype)
    columns = layer.b.new_zeros(layer.b.shape[0], added)
    return LoraLayer(torch.cat([layer.a, rows]).contiguous(), torch.cat([layer.b * ratio, columns], dim=1).contiguous())
