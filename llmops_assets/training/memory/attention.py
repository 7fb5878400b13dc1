"""Bytes of attention: what one block keeps of it for its backward pass, the masks, and the gradients of eager scores.

Kernels of PyTorch's scaled_dot_product_attention and of flash attention keep no [length, length] scores; eager does.
Flash attention is not measured by the tests, which have no GPU: it keeps what PyTorch's own flash kernel keeps.
"""

from llmops_assets.training.memory.micro_batch import Batch
from llmops_assets.training.memory.parameters import BYTES
from llmops_assets.training.memory.shapes import ModelShape
from llmops_assets.training.specs import AnyStageSpec

_FP32 = 4


def attention_bytes(shape: ModelShape, spec: AnyStageSpec, batch: Batch) -> float:
    """Return what the attention of one block keeps for its backward pass, in bytes.

    With n tokens, s bytes per activation, queries q, keys and values k:

    - queries, keys, values, output, log-sum-exp: n*s*(2q + 2k) + 4*n*heads;
    - masked: keys and values are repeated to all query heads first (2q for 2k), and each block keeps the mask as
      numbers: s*rows*length^2;
    - prefixes: beside what is kept without a mask, keys and values that a rejected text sees are put together and
      repeated (2q for its half of the tokens), and there is a mask of it, s*texts^2 per pair;
    - eager: queries, keys and values repeated; the softmax in float32, and in the block's type if that is another one:
      rows*heads*length^2*(4 + s). The output is not kept.
    """
    n, s = batch.tokens, BYTES[spec.precision]
    wide, narrow = shape.query_width, shape.key_value_width
    if batch.attention == "scores":
        return 3 * n * s * wide + _scores(shape, batch) * (_FP32 + (s if s != _FP32 else 0))
    log_sums = _FP32 * n * shape.heads
    if batch.attention == "masked":
        return n * s * 4 * wide + log_sums + s * batch.rows * batch.length**2
    seen = n * s * wide + s * _prefix_masks(batch) if batch.attention == "prefixes" else 0
    return n * s * (2 * wide + 2 * narrow) + log_sums + seen


def hands_on_its_output(batch: Batch) -> bool:
    """Return whether the o projection reads the very tensor that attention keeps, not one made of it."""
    return batch.attention in ("causal", "masked")


def mask_bytes(spec: AnyStageSpec, batch: Batch) -> int:
    """Return the bytes of the attention masks that are made once per micro step, for all blocks.

    One of booleans, rows*length^2, or one per pair of shared prefixes; eager makes numbers of it.
    """
    if batch.attention == "prefixes":
        return _prefix_masks(batch)
    if batch.attention not in ("masked", "scores"):
        return 0
    return batch.rows * batch.length**2 * (1 + (BYTES[spec.precision] if batch.attention == "scores" else 0))


def attention_backward_bytes(shape: ModelShape, spec: AnyStageSpec, batch: Batch) -> float:
    """Return what the backward pass of eager attention allocates for a moment; 0 where a kernel keeps it small.

    The gradient of the softmax in float32 beside that of the scores, rows*heads*length^2*(4 + s), and those of queries,
    repeated keys and values.
    """
    if batch.attention != "scores":
        return 0
    s = BYTES[spec.precision]
    return _scores(shape, batch) * (_FP32 + s) + 3 * batch.tokens * s * shape.query_width


def _scores(shape: ModelShape, batch: Batch) -> int:
    return batch.rows * shape.heads * batch.length**2


def _prefix_masks(batch: Batch) -> int:
    """Entries of the masks [rest of rejected, prefix + rest of rejected] of all pairs, when nothing is shared."""
    return batch.pairs * (batch.length // (2 * batch.pairs)) ** 2
