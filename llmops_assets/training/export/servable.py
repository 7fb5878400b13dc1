"""Whether vLLM serves an adapter beside its base. Rules read in the source of vLLM 0.33; it was not run."""

from pathlib import Path
from typing import Any

from torch import Tensor

from llmops_assets.training.lora_layers import NotPlainLora, effects_beside_pairs, lora_layers

# The values that --max-lora-rank takes. It bounds the rank of what is loaded; smaller ranks are served as they are.
MAX_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def max_lora_rank(rank: int) -> int | None:
    """Return the smallest --max-lora-rank that serves `rank`, or None if there is none."""
    return next((size for size in MAX_LORA_RANKS if size >= rank), None)


def servable_problems(config: dict[str, Any], tensors: dict[str, Tensor]) -> list[str]:
    """Return why vLLM would refuse an adapter, or serve another function than it is; empty if it is servable.

    Rank-stabilised LoRA is fine. Ranks and scales of single layers are not: vLLM reads `r` and `lora_alpha` alone.

    Args:
        config: The adapter_config.json.
        tensors: Named as in PEFT's files.
    """
    problems = [f"the adapter {effect}" for effect in effects_beside_pairs(config)]
    rank = int(config["r"])
    if max_lora_rank(rank) is None:
        problems.append(f"rank {rank} is above {MAX_LORA_RANKS[-1]}, the largest --max-lora-rank")
    if not problems:
        try:
            lora_layers(tensors, config, Path("the adapter"))
        except NotPlainLora as error:
            problems.append(str(error))
    return problems
