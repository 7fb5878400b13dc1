"""Which layers `all` means: the linear layers of a decoder block, which families of models name differently."""

import json
import re
from pathlib import Path

from llmops_assets.config_import.values import Unusable
from llmops_assets.training.specs import LORA_TARGETS

_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_FUSED = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
# (the model_type of a config.json, the end of a hub id, layers); the first that fits counts. Experts of mixtures are
# stacked weights in transformers 5 and no linear layers, for LLaMA-Factory as for a lane.
_FAMILIES: tuple[tuple[str, str, tuple[str, ...] | None], ...] = (
    ("phi3", r"phi-(3|3\.5|4)(-mini|-medium)?(-(4|8|128)k)?(-instruct|-reasoning(-plus)?)?", _FUSED),
    ("qwen3_moe", r"qwen3-.*-a\d+b.*", _ATTENTION),
    ("mixtral", r"mixtral-.*", _ATTENTION),
    ("deepseek_v2|deepseek_v3", r"deepseek-(v[23]|coder-v2|r1(-0528|-zero)?$).*", None),
    ("", r".*-a\d+(\.\d+)?b.*", ()),
    ("llama", r"(meta-)?llama-?[23].*|codellama.*|smollm.*|tinyllama.*|deepseek-(llm|r1-distill).*", LORA_TARGETS),
    ("qwen2|qwen3", r"(code)?qwen(1\.5|2|2\.5|3)-(coder-)?\d.*", LORA_TARGETS),
    ("mistral", r"mistral-(7b|nemo|small-24b).*", LORA_TARGETS),
    ("gemma|gemma2|gemma3_text", r"gemma-(1\.1-)?\d.*", LORA_TARGETS),
)


def linear_layers(base: str) -> tuple[list[str], bool]:
    """Return the linear layers of the blocks of `base`, a folder or hub id, and whether its family is known.

    Raises Unusable for families whose layers depend on the model's size.
    """
    kind, name = _model_type(Path(base)), Path(base).name.lower()
    for kinds, pattern, layers in _FAMILIES:
        if kind in kinds.split("|") if kind else re.fullmatch(pattern, name):
            if layers is None:
                raise Unusable(
                    f"`all` means layers of latent attention for {base}, which differ from model to model; name them, "
                    "such as q_a_proj, q_b_proj, kv_a_proj_with_mqa, kv_b_proj, o_proj"
                )
            return list(layers or LORA_TARGETS), bool(layers)
    return list(LORA_TARGETS), False


def _model_type(folder: Path) -> str:
    """Return the model_type of a model in a folder; empty for a hub id and for a config that cannot be read."""
    try:
        return str(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type") or "")
    except (OSError, ValueError, AttributeError):
        return ""
