"""Which attention a training computes with: what `attention` asks for, by what the rank's device and packages offer."""

import torch
from transformers.utils.import_utils import is_flash_attn_2_available, is_flash_attn_3_available

from llmops_assets.errors import LlmopsError
from llmops_assets.training.speed.segment_attention import SEGMENTS, register_segment_attention

# Fastest first. Both need an NVIDIA GPU of compute capability 8.0 (Ampere) or later, or ROCm's build of them.
FLASH_ATTENTION = ("flash_attention_3", "flash_attention_2")
_AMPERE = (8, 0)


class AttentionUnavailable(LlmopsError):
    """The attention implementation that a spec asks for cannot run on the device, in the precision, or is missing."""


def attention_implementation(attention: str, *, packed: bool, precision: str, on_gpu: bool) -> str:
    """Return the `attn_implementation` to load a model with for a spec's `attention`.

    `packed`: rows hold several documents or conversations one after another. "auto" gives FlashAttention-3, then -2
    (Dao 2023, arXiv 2307.08691), where the GPU has them; else "segments" for packed rows and "sdpa" for padded ones.
    A "segments" that is returned is registered with transformers.

    Raises AttentionUnavailable, before a model is loaded, if an explicit choice cannot be had.
    """
    if attention == "auto":
        usable = (name for name in FLASH_ATTENTION if _obstacle(name, precision, on_gpu) is None)
        attention = next(usable, SEGMENTS if packed else "sdpa")
    elif (obstacle := _obstacle(attention, precision, on_gpu)) is not None:
        fitting = SEGMENTS if packed else "sdpa"
        raise AttentionUnavailable(f"attention: {attention} {obstacle}; set attention: auto, or attention: {fitting}")
    if attention == SEGMENTS:
        register_segment_attention()
    return attention


def _obstacle(attention: str, precision: str, on_gpu: bool) -> str | None:
    """Return why `attention` cannot run here, as the end of a sentence that begins with its name."""
    if attention not in FLASH_ATTENTION:
        return None
    if not on_gpu:
        return "runs on GPUs alone, and this training runs on the CPU"
    if precision != "bf16":
        return f"computes in bfloat16, and precision is {precision}"
    if torch.version.hip is None and torch.cuda.get_device_capability() < _AMPERE:
        return f"needs an Ampere or later GPU, this one is a {torch.cuda.get_device_name()}"
    if not _is_installed(attention):
        return (
            "needs its wheel (flash-attn-3 or flash-attn), or the package `kernels` with the compiled kernel in the "
            "Hugging Face cache or a hub within reach; neither is here"
        )
    return None


def _is_installed(attention: str) -> bool:
    if attention == "flash_attention_3":
        return bool(is_flash_attn_3_available(kernels_fallback_ok=True))
    return bool(is_flash_attn_2_available(kernels_fallback_ok=True))
