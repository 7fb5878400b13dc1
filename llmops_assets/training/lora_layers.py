"""What a LoRA's two files say about the layers of its base: pairs of matrices by layer, and the scale of their product.

Hu et al. 2021, arXiv 2106.09685: a layer of weight W [out, in] computes with W + scale * B A, where A is [r, in] and
B is [out, r].
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from llmops_assets.errors import LlmopsError

_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"


class NotPlainLora(LlmopsError):
    """An adapter holds more than pairs of LoRA matrices of one rank, so its product is not its whole effect."""


@dataclass(frozen=True)
class LoraLayer:
    """The pair of one linear layer: `a` is [r, in], `b` is [out, r]."""

    a: Tensor
    b: Tensor


def lora_scale(config: dict[str, Any], *, r: int | None = None, alpha: float | None = None) -> float:
    """Return what B A is multiplied by: alpha / r, or alpha / sqrt(r) with rank stabilisation (arXiv 2312.03732).

    `r` and `alpha` replace those of `config`, an adapter_config.json.
    """
    rank = config["r"] if r is None else r
    numerator = config["lora_alpha"] if alpha is None else alpha
    return numerator / math.sqrt(rank) if config.get("use_rslora") else numerator / rank


def lora_layers(tensors: dict[str, Tensor], config: dict[str, Any], source: Path) -> dict[str, LoraLayer]:
    """Return the pairs of an adapter file by the name of their layer in the base model, in order of name.

    `source` is named by errors. Raises NotPlainLora for whatever B A alone does not describe: DoRA, trained biases,
    trained whole modules, ranks of single layers, or tensors that are no such pair.
    """
    if effects := effects_beside_pairs(config):
        raise NotPlainLora(
            f"{source}: {' and '.join(effects)}, which B A does not hold; train it as a plain LoRA of one rank"
        )
    names = sorted(name.removeprefix(_PREFIX).removesuffix(_A) for name in tensors if name.endswith(_A))
    pairs = {f"{_PREFIX}{name}{side}" for name in names for side in (_A, _B)}
    if odd := sorted(set(tensors) ^ pairs):
        what = "has no partner" if odd[0] in pairs else "is no LoRA matrix of a linear layer"
        raise NotPlainLora(f"{source}: tensor {odd[0]} {what}; materialize the adapter again")
    layers = {name: LoraLayer(tensors[f"{_PREFIX}{name}{_A}"], tensors[f"{_PREFIX}{name}{_B}"]) for name in names}
    for name, layer in layers.items():
        if not layer.a.shape[0] == layer.b.shape[1] == config["r"]:
            raise NotPlainLora(
                f"{source}: layer {name} has A {list(layer.a.shape)} and B {list(layer.b.shape)}, which is not rank "
                f"{config['r']} of the adapter's config; materialize the adapter again"
            )
    return layers


def lora_tensors(layers: dict[str, LoraLayer]) -> dict[str, Tensor]:
    """Return the tensors of an adapter file, the inverse of `lora_layers`."""
    named = {}
    for name, layer in layers.items():
        named[f"{_PREFIX}{name}{_A}"] = layer.a
        named[f"{_PREFIX}{name}{_B}"] = layer.b
    return named


def effects_beside_pairs(config: dict[str, Any]) -> list[str]:
    """Return what an adapter_config.json has that pairs of one rank and scale do not hold, in words."""
    found = []
    if config.get("peft_type", "LORA") != "LORA":
        found.append(f"is a {config['peft_type']} adapter (peft_type)")
    if config.get("use_dora"):
        found.append("is a DoRA (use_dora)")
    if config.get("bias", "none") != "none" or config.get("lora_bias"):
        found.append("has trained biases (bias, lora_bias)")
    keys = ("modules_to_save", "rank_pattern", "alpha_pattern", "layer_replication", "trainable_token_indices")
    return found + [f"has {key}" for key in keys if config.get(key)]
