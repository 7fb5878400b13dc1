"""Floating-point operations that a training needs per token, and the share of the hardware's peak that it reaches.

What counts is the work of the algorithm, not of the implementation: recomputation inside kernels (FlashAttention, the
fused LM head) is not counted, activation checkpointing is reported apart. 6 FLOPs per weight and token (Kaplan et al.
2020, arXiv 2001.08361) hold for full fine-tuning alone; a LoRA skips the gradients of the frozen weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from llmops_assets.training.memory.shapes import Linear, ModelShape
from llmops_assets.training.specs import StageSpec

# One multiply and one add per weight.
_FLOPS_PER_WEIGHT = 2

# Dense bfloat16 tensor-core FLOP/s without sparsity, from the vendors' data sheets; the first name contained in the
# device's name wins, so special forms come before the plain ones.
PEAK_BF16_FLOPS = (
    ("GB200", 2.5e15),
    ("B200", 2.25e15),
    ("H200 NVL", 836e12),
    ("GH200", 989e12),
    ("H200", 989e12),
    ("H100 NVL", 836e12),
    ("H100 PCIe", 756e12),
    ("H100", 989e12),
    ("H800", 989e12),
    ("A100", 312e12),
    ("A800", 312e12),
    ("A30", 165e12),
    ("A10", 125e12),
    ("L40S", 362e12),
    ("L40", 181e12),
    ("L4", 121e12),
    ("RTX 6000 Ada", 364.2e12),
    ("RTX 5090", 209.5e12),
    ("RTX 4090", 165.2e12),
    ("RTX 3090", 71e12),
    ("MI355X", 2.5e15),
    ("MI325X", 1307e12),
    ("MI300X", 1307e12),
)


@dataclass(frozen=True)
class TrainingFlops:
    """FLOPs of forward and backward pass. `recomputed` is what activation checkpointing adds, and no progress."""

    body: float
    lora: float
    attention: float
    head: float
    recomputed: float

    @property
    def useful(self) -> float:
        """What the algorithm needs; MFU is counted on it."""
        return self.body + self.lora + self.attention + self.head

    @property
    def executed(self) -> float:
        """What the hardware is given to do, recomputation included."""
        return self.useful + self.recomputed


def training_flops(
    shape: ModelShape, spec: StageSpec, *, tokens: float, labelled_tokens: float, context: float | None = None
) -> TrainingFlops:
    """Return the FLOPs to train on `tokens` tokens, padding not counted, of which `labelled_tokens` carry loss.

    `context` is the mean length of the documents, weighted by tokens (sum of squared lengths over sum of lengths);
    `max_length` by default. A token attends to half of it on average.

    With 2 FLOPs per weight and token for each of forward pass, gradient of the input and gradient of the weight:

    - blocks: 4 per weight for a LoRA over frozen weights, 6 for full fine-tuning;
    - LoRA matrices: 6 per weight of A and B;
    - attention: scores and weighted values are 2 * context * query width per token, twice that backward;
    - LM head: 4 per weight and labelled token, 6 where it is trained; TRL's fused head skips other positions;
    - activation checkpointing: one more forward pass of the blocks.

    The embedding is a lookup. The first block's input needs no gradient: its share is not taken off.
    """
    full = spec.finetuning == "full"
    per_frozen_or_trained = 3 if full else 2
    linears = shape.linear_layers()
    body = tokens * _FLOPS_PER_WEIGHT * shape.layers * sum(linear.weights for linear in linears.values())
    lora = 0.0 if full else tokens * _FLOPS_PER_WEIGHT * shape.layers * _lora_weights(linears, spec)
    attended = (spec.max_length if context is None else context) / 2
    attention = tokens * 2 * _FLOPS_PER_WEIGHT * attended * shape.query_width * shape.layers
    head = labelled_tokens * _FLOPS_PER_WEIGHT * shape.hidden * shape.vocabulary
    return TrainingFlops(
        body=per_frozen_or_trained * body,
        lora=3 * lora,
        attention=3 * attention,
        head=per_frozen_or_trained * head,
        recomputed=body + lora + attention if spec.activation_checkpointing else 0.0,
    )


def flops_per_seen_token(shape: ModelShape, spec: StageSpec, counts: Mapping[str, float]) -> float | None:
    """Return the useful FLOPs of a training per token that its trainer says it has seen.

    `counts` are those of its prepared rows, by `count_rows`; None if they were prepared before these were counted.
    A trainer counts the prompt of a pair in both of its texts, and so does everything here but prefix sharing: it
    computes what the texts begin with once. Of KTO only the pass that is trained on counts: the forward passes of its
    reference and its KL term are left out.
    """
    names = ("text_tokens", "tokens_with_loss", "squared_lengths")
    if any(f"train_{name}" not in counts for name in names):
        return None
    seen, labelled, squared = (counts[f"train_{name}"] for name in names)
    tokens = seen
    if spec.model_dump().get("batching") == "prefix_sharing":
        tokens -= counts["train_shared_tokens"]
        squared -= counts["train_squared_shared_lengths"]
    return training_flops(shape, spec, tokens=tokens, labelled_tokens=labelled, context=squared / tokens).useful / seen


def mfu(flops: float, seconds: float, peak: float | None) -> float | None:
    """Return the model FLOPs utilisation (Chowdhery et al. 2022, arXiv 2204.02311) in [0, 1]; None without a peak.

    `flops` is `TrainingFlops.useful` of all ranks together, `peak` the sum of their devices' peaks in FLOP/s.
    """
    return None if peak is None or seconds <= 0 else flops / seconds / peak


def peak_bf16_flops(device_name: str) -> float | None:
    """Return the peak dense bfloat16 FLOP/s of a GPU by the name its driver gives; None for CPUs and unknown GPUs."""
    name = device_name.casefold()
    return next((peak for part, peak in PEAK_BF16_FLOPS if _names(name, part.casefold())), None)


def _names(device: str, part: str) -> bool:
    """Whether `part` stands in `device` as whole words: "L4" is not in "L40S"; form factors follow after a hyphen."""
    words = device.replace("-", " ").split()
    wanted = part.split()
    return any(words[start : start + len(wanted)] == wanted for start in range(len(words)))


def _lora_weights(linears: dict[str, Linear], spec: StageSpec) -> int:
    targets = [linears[name] for name in spec.lora_targets if name in linears]
    return sum(spec.lora_r * (linear.inputs + linear.outputs) for linear in targets)
