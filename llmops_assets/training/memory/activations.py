"""Bytes of activations: what the backward pass needs of each block, and what the busiest moment needs besides.

Derived tensor by tensor from transformers 5.23, PEFT 0.21 and TRL 1.16, in the manner of Korthikanti et al. 2022 (arXiv
2205.05198), whose 34*s*b*h counts a GELU block without LoRA. Attention is PyTorch's scaled_dot_product_attention, which
keeps no [length, length] scores; a mask, where rows are padded or packed, is kept.
"""

from dataclasses import dataclass

from llmops_assets.training.memory.parameters import BYTES, lora_parameters, zero_stage
from llmops_assets.training.memory.shapes import ModelShape
from llmops_assets.training.specs import AnyStageSpec

# TRL's fused LM head works on tiles of this many tokens by this many vocabulary entries.
HEAD_TOKENS, HEAD_VOCABULARY = 4096, 32768
_FP32 = 4


@dataclass(frozen=True)
class Batch:
    """One micro step as the GPU sees it: `rows` x `length` tokens, with an attention mask or without."""

    rows: int
    length: int
    masked: bool

    @property
    def tokens(self) -> int:
        """Tokens of the micro step, padding included."""
        return self.rows * self.length


def batch_of(spec: AnyStageSpec) -> Batch:
    """Return the largest micro step that `spec` allows: every row of `max_length`.

    CPT packs a micro step into one long row with a mask between documents. DPO stacks chosen and rejected answers. Rows
    of different lengths are padded, and so masked; a single row is not.
    """
    if spec.stage == "cpt":
        return Batch(rows=1, length=spec.batch_size * spec.max_length, masked=True)
    rows = spec.batch_size * (2 if spec.stage == "dpo" else 1)
    return Batch(rows=rows, length=spec.max_length, masked=rows > 1)


def block_bytes(shape: ModelShape, spec: AnyStageSpec, batch: Batch) -> float:
    """Return what one block keeps for its backward pass, in bytes.

    With n tokens, s bytes per activation, hidden h, queries q, keys and values k, intermediate f, LoRA rank r:

    - two RMSNorms: their input in float32 and one scale per token, 2*n*(4h + 4)
    - attention: queries, keys, values, output, log-sum-exp: n*s*(2q + 2k) + 4*n*heads. With a mask, keys and values
      are repeated to all query heads first (2q for 2k), and the mask itself is kept: s*rows*length^2.
    - Qwen3's norms of queries and keys: n*(4(q + k) + 4*(heads + key_value_heads))
    - gate, SiLU of the gate, and up projection: 3*n*s*f
    - LoRA: see `_lora_inputs`; plus the output of every A matrix, n*s*r per target.
    """
    n, s = batch.tokens, BYTES[spec.precision]
    norms = 2 * n * (_FP32 * shape.hidden + _FP32)
    if shape.qk_norm:
        heads = shape.heads + shape.key_value_heads
        norms += n * (_FP32 * (shape.query_width + shape.key_value_width) + _FP32 * heads)
    stored = shape.query_width if batch.masked else shape.key_value_width
    attention = n * s * (2 * shape.query_width + 2 * stored) + _FP32 * n * shape.heads
    if batch.masked:
        attention += s * batch.rows * batch.length**2
    mlp = 3 * n * s * shape.intermediate
    ranks = n * s * spec.lora_r * len(_targets(shape, spec))
    return norms + attention + mlp + ranks + _lora_inputs(shape, spec, n)


def checkpoint_bytes(shape: ModelShape, spec: AnyStageSpec, batch: Batch) -> float:
    """Return what one block keeps under activation checkpointing: its input, n*s*h (Chen et al., arXiv 1604.06174)."""
    return batch.tokens * BYTES[spec.precision] * shape.hidden


def kept_bytes(shape: ModelShape, spec: AnyStageSpec, batch: Batch) -> float:
    """Return what the model keeps when its backward pass begins, in bytes; exact if q, k or v has a LoRA.

    All blocks, the input of the last norm and the rotary tables. Nothing before the first block is trained, so its
    first norm keeps nothing, and neither do the copies of its q, k and v A matrices that autocast makes; under
    checkpointing that is a part of what is computed again.
    """
    n, s = batch.tokens, BYTES[spec.precision]
    last_norm = n * (_FP32 * shape.hidden + _FP32)
    if spec.activation_checkpointing:
        return shape.layers * checkpoint_bytes(shape, spec, batch) + last_norm
    first_copies = len({"q_proj", "k_proj", "v_proj"} & set(spec.lora_targets)) if autocasts(spec) else 0
    rotary = 2 * s * batch.length * shape.head_size
    return shape.layers * block_bytes(shape, spec, batch) + rotary - first_copies * s * spec.lora_r * shape.hidden


def mask_bytes(batch: Batch) -> int:
    """Return the bytes of the boolean attention mask, made once per micro step: rows * length^2."""
    return batch.rows * batch.length**2 if batch.masked else 0


def head_bytes(shape: ModelShape, spec: AnyStageSpec, batch: Batch) -> float:
    """Return what the LM head and the loss allocate; the [tokens, vocabulary] logits never exist (TRL 1.16).

    A tile of at most 4096 x 32768 logits; per token the hidden state, its gradient and that in float32; and seven
    float32 statistics. All positions count, though TRL takes those with loss only: rows may be all answer.
    """
    n, s = batch.tokens, BYTES[spec.precision]
    tile = min(n, HEAD_TOKENS) * HEAD_VOCABULARY * s
    return tile + n * shape.hidden * (2 * s + _FP32) + 7 * _FP32 * n


def block_backward_bytes(shape: ModelShape, spec: AnyStageSpec, batch: Batch) -> float:
    """Return what the backward pass of one block allocates for a moment: gradients on their way.

    The widest moment is the MLP: gradients of product, gate and up, n*s*3f, beside that of the residual stream in
    float32 and in the block's type, n*(4 + s)*h; autocast adds a float32 copy of what a LoRA reads, n*4f. A quantised
    block also writes out the matrix that it multiplies by.
    """
    n, s = batch.tokens, BYTES[spec.precision]
    copied = _FP32 * n * shape.intermediate if autocasts(spec) else 0
    written_out = 0
    if spec.quantization != "none":
        written_out = s * max(layer.weights for layer in shape.linear_layers().values())
    return n * (3 * s * shape.intermediate + (_FP32 + s) * shape.hidden) + copied + written_out


def busiest_moment_bytes(shape: ModelShape, spec: AnyStageSpec, batch: Batch) -> float:
    """Return the larger of: the LM head with the loss, or the backward pass of the block that follows it.

    The two never coincide. Under checkpointing the block is computed again first, and so has all its activations.
    """
    block = block_backward_bytes(shape, spec, batch)
    if spec.activation_checkpointing:
        block += block_bytes(shape, spec, batch)
    return max(head_bytes(shape, spec, batch), block)


def autocasts(spec: AnyStageSpec) -> bool:
    """Return whether float32 LoRA matrices meet bfloat16 activations, so that autocast copies what they read."""
    return spec.precision == "bf16" and zero_stage(spec) == 0


def _targets(shape: ModelShape, spec: AnyStageSpec) -> list[str]:
    return [name for name in shape.linear_layers() if name in spec.lora_targets]


def _lora_inputs(shape: ModelShape, spec: AnyStageSpec, n: int) -> float:
    """Bytes of what the A matrices read, kept for their gradients.

    Layers that read the same tensor (q, k and v; gate and up) keep it once, and the o projection's input is the
    attention's output, kept already. Dropout gives every target a tensor of its own, and a mask of one byte each;
    autocast too, and adds bfloat16 copies of the matrices.
    """
    s, layers, targets = BYTES[spec.precision], shape.linear_layers(), _targets(shape, spec)
    if spec.lora_dropout or autocasts(spec):
        size = s + (1 if spec.lora_dropout else 0)
        copies = s * lora_parameters(shape, spec) / shape.layers if autocasts(spec) else 0
        return n * size * sum(layers[name].inputs for name in targets) + copies
    sources = {name: name for name in targets if name != "o_proj"}
    sources |= dict.fromkeys({"q_proj", "k_proj", "v_proj"} & set(targets), "attention")
    sources |= dict.fromkeys({"gate_proj", "up_proj"} & set(targets), "mlp")
    return n * s * sum({source: layers[name].inputs for name, source in sources.items()}.values())
