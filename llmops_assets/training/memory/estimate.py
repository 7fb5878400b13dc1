"""Memory that one GPU needs to train a stage, as named lines that add up to the total."""

from dataclasses import dataclass

from llmops_assets.training.memory.activations import busiest_moment_bytes, kept_bytes
from llmops_assets.training.memory.attention import mask_bytes
from llmops_assets.training.memory.micro_batch import batch_of
from llmops_assets.training.memory.parameters import (
    gathered_bytes,
    reference_bytes,
    sharded_base_bytes,
    trainable_state,
)
from llmops_assets.training.memory.shapes import ModelShape
from llmops_assets.training.specs import AnyStageSpec

GIB = 1024**3

# Assumptions, not measured here: what a CUDA process takes before the first tensor (context, kernels, cuBLAS
# workspace), what NCCL takes on top of it, and the share that PyTorch's caching allocator loses to fragments.
CUDA_CONTEXT = 0.6 * GIB
NCCL_BUFFERS = 0.4 * GIB
FRAGMENTED_SHARE = 0.05


@dataclass(frozen=True)
class Line:
    """One cause of memory use, in bytes on one GPU."""

    name: str
    bytes: float


@dataclass(frozen=True)
class Estimate:
    """What one GPU needs, line by line."""

    lines: tuple[Line, ...]

    @property
    def total(self) -> float:
        """Sum of all lines, in bytes."""
        return sum(line.bytes for line in self.lines)

    def largest(self, count: int) -> list[Line]:
        """Return the `count` largest lines, the largest first."""
        return sorted(self.lines, key=lambda line: -line.bytes)[:count]

    def __getitem__(self, name: str) -> float:
        """Return the bytes of the line called `name`. Raises KeyError."""
        return {line.name: line.bytes for line in self.lines}[name]


def estimate(spec: AnyStageSpec, shape: ModelShape) -> Estimate:
    """Estimate the peak memory of one GPU while it trains `spec` on a base of `shape`, in bytes.

    It is the first backward pass of the largest micro step that the spec allows, `batch_of`. Lines:

    - base weights (linear layers of the blocks; quantised or not) and embedding, head, norms: `sharded_base_bytes`
    - gathered parameters (ZeRO-3): `gathered_bytes`
    - LoRA weights, gradients, float32 masters, AdamW moments, gradient buckets: `trainable_state`
    - reference policy (KTO): `reference_bytes`
    - kept activations: `kept_bytes` and `mask_bytes`; working memory: `busiest_moment_bytes`
    - CUDA context and libraries; fragmentation, a share of everything that is allocated and freed in each step.

    Lines that are 0 are left out.
    """
    batch = batch_of(spec)
    blocks, rest = sharded_base_bytes(shape, spec)
    state = trainable_state(shape, spec)
    kept = kept_bytes(shape, spec, batch) + mask_bytes(spec, batch)
    working = busiest_moment_bytes(shape, spec, batch)
    gathered = gathered_bytes(shape, spec)
    lines = (
        Line("base weights of the blocks", blocks),
        Line("embedding, LM head, norms", rest),
        Line("gathered parameters", gathered),
        Line("LoRA weights", state.weights),
        Line("gradients", state.gradients),
        Line("float32 masters", state.masters),
        Line("AdamW moments", state.moments),
        Line("gradient buckets", state.buckets),
        Line("reference policy", reference_bytes(shape, spec)),
        Line("kept activations", kept),
        Line("working memory", working),
        Line("CUDA context and libraries", CUDA_CONTEXT + (NCCL_BUFFERS if spec.num_processes > 1 else 0)),
        Line("fragmentation", FRAGMENTED_SHARE * (kept + working + gathered)),
    )
    return Estimate(tuple(line for line in lines if line.bytes))
