"""Bytes of activations: what the backward pass needs of each block, and what the busiest moment needs besides.

Derived tensor by tensor from transformers 5.23, PEFT 0.21 and TRL 1.16, in the manner of Korthikanti et al. 2022 (arXiv
2205.05198), whose 34*s*b*h counts a GELU block without LoRA.
"""

from llmops_assets.training.memory.attention import attention_backward_bytes, attention_bytes, hands_on_its_output
from llmops_assets.training.memory.micro_batch import Batch
from llmops_assets.training.memory.parameters import BYTES, lora_parameters, zero_stage
from llmops_assets.training.memory.shapes import ModelShape
from llmops_assets.training.specs import AnyStageSpec

# TRL's fused LM head works on tiles of this many tokens by this many vocabulary entries.
HEAD_TOKENS, HEAD_VOCABULARY = 4096, 32768
_FP32 = 4
_TOKEN_ID = 8


def block_bytes(shape: ModelShape, spec: AnyStageSpec, batch: Batch) -> float:
    """Return what one block keeps for its backward pass, in bytes.

    With n tokens, s bytes per activation, hidden h, queries q, keys and values k, intermediate f, LoRA rank r:

    - two RMSNorms: their input in float32 and one scale per token, 2*n*(4h + 4); trained ones keep their result too
    - attention: see `attention_bytes`
    - Qwen3's norms of queries and keys: n*(4(q + k) + 4*(heads + key_value_heads))
    - gate, SiLU of the gate, and up projection: 3*n*s*f
    - what the LoRA, or the trained linear layers, read: see `_inputs`; plus the output of every A matrix, n*s*r per
      target.
    """
    n, s = batch.tokens, BYTES[spec.precision]
    norms = 2 * _norm_bytes(spec, n, shape.hidden, 1)
    if shape.qk_norm:
        norms += _norm_bytes(spec, n, shape.query_width, shape.heads)
        norms += _norm_bytes(spec, n, shape.key_value_width, shape.key_value_heads)
    mlp = 3 * n * s * shape.intermediate
    ranks = 0 if spec.finetuning == "full" else n * s * spec.lora_r * len(_targets(shape, spec))
    return norms + attention_bytes(shape, spec, batch) + mlp + ranks + _inputs(shape, spec, batch)


def checkpoint_bytes(shape: ModelShape, spec: AnyStageSpec, batch: Batch) -> float:
    """Return what one block keeps under activation checkpointing: its input, n*s*h (Chen et al., arXiv 1604.06174)."""
    return batch.tokens * _stream_size(spec) * shape.hidden


def kept_bytes(shape: ModelShape, spec: AnyStageSpec, batch: Batch) -> float:
    """Return what the model keeps when its backward pass begins, in bytes; exact if q, k or v has a LoRA (eager: all).

    All blocks, the input of the last norm and the rotary tables. With a LoRA nothing before the first block is trained,
    so its first norm keeps nothing, and neither do the copies of its q, k and v A matrices that autocast makes for
    PEFT's layers; under checkpointing that is a part of what is computed again. Full fine-tuning keeps the first norm,
    and the token ids for the embedding.
    """
    n, s = batch.tokens, BYTES[spec.precision]
    full = spec.finetuning == "full"
    last_norm = _norm_bytes(spec, n, shape.hidden, 1)
    if spec.activation_checkpointing:
        return shape.layers * checkpoint_bytes(shape, spec, batch) + last_norm + (_TOKEN_ID * n if full else 0)
    rotary = 2 * _stream_size(spec) * batch.length * shape.head_size
    blocks = shape.layers * block_bytes(shape, spec, batch) + rotary
    if full:
        return blocks + last_norm + _TOKEN_ID * n
    cast_for_peft = autocasts(spec) and not fuses_lora(spec)
    first_copies = len({"q_proj", "k_proj", "v_proj"} & set(spec.lora_targets)) if cast_for_peft else 0
    return blocks - first_copies * s * spec.lora_r * shape.hidden


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
    float32 and in the block's type, n*(4 + s)*h; for PEFT's layers autocast adds a float32 copy of what a LoRA reads,
    n*4f. Eager attention may be wider. A quantised block also writes out the matrix that it multiplies by.
    """
    n, s = batch.tokens, BYTES[spec.precision]
    copied = _FP32 * n * shape.intermediate if autocasts(spec) and not fuses_lora(spec) else 0
    mlp = 3 * n * s * shape.intermediate + copied
    written_out = 0
    if spec.quantization != "none":
        written_out = s * max(layer.weights for layer in shape.linear_layers().values())
    widest = max(mlp, attention_backward_bytes(shape, spec, batch))
    return widest + n * (_FP32 + s) * shape.hidden + written_out


def busiest_moment_bytes(shape: ModelShape, spec: AnyStageSpec, batch: Batch) -> float:
    """Return the larger of: the LM head with the loss, or the backward pass of the block that follows it.

    The two never coincide. Under checkpointing the block is computed again first, and so has all its activations.
    """
    block = block_backward_bytes(shape, spec, batch)
    if spec.activation_checkpointing:
        block += block_bytes(shape, spec, batch)
    return max(head_bytes(shape, spec, batch), block)


def autocasts(spec: AnyStageSpec) -> bool:
    """Return whether trained float32 matrices meet bfloat16 activations, so that autocast copies what they read."""
    return spec.precision == "bf16" and zero_stage(spec) == 0


def fuses_lora(spec: AnyStageSpec) -> bool:
    """Return whether `FusedLoraLinear` computes the LoRA; it leaves dropout, quantised weights and ZeRO-3 to PEFT."""
    plain = spec.quantization == "none" and not spec.lora_dropout and zero_stage(spec) != 3
    return spec.finetuning == "lora" and spec.fused_lora and plain


def _targets(shape: ModelShape, spec: AnyStageSpec) -> list[str]:
    return [name for name in shape.linear_layers() if spec.finetuning == "full" or name in spec.lora_targets]


def _stream_size(spec: AnyStageSpec) -> int:
    """Bytes of a number of the residual stream: float32 from embedding to head where autocast trains a whole model."""
    return _FP32 if spec.finetuning == "full" and autocasts(spec) else BYTES[spec.precision]


def _norm_bytes(spec: AnyStageSpec, n: int, width: int, scales: int) -> int:
    """Input in float32 and `scales` per token; the gradient of a trained weight needs the normalised input as well."""
    normalised = _stream_size(spec) * width if spec.finetuning == "full" else 0
    return n * (_FP32 * width + _FP32 * scales + normalised)


def _inputs(shape: ModelShape, spec: AnyStageSpec, batch: Batch) -> float:
    """Bytes of what trained matrices read, kept for their gradients: A matrices of a LoRA, or whole linear layers.

    Layers that read the same tensor (q, k and v; gate and up) keep it once, and the o projection's input may be what
    attention keeps already. Dropout gives every target a tensor of its own, and a mask of one byte each. So does
    autocast for PEFT's layers, which cast to float32 what it casts back; a fused LoRA takes the tensor as it is. Both
    add bfloat16 copies of the matrices, as autocast does for those of a whole model, whose norms it runs in float32.
    """
    n, s, layers, targets = batch.tokens, BYTES[spec.precision], shape.linear_layers(), _targets(shape, spec)
    full, handed_on = spec.finetuning == "full", hands_on_its_output(batch)
    trained = sum(layer.weights for layer in layers.values()) if full else lora_parameters(shape, spec) / shape.layers
    copies = s * trained if autocasts(spec) else 0
    if spec.lora_dropout or (autocasts(spec) and not fuses_lora(spec)):
        size = s + (1 if spec.lora_dropout else 0)
        own = [name for name in targets if not (full and handed_on and name == "o_proj")]
        return n * size * sum(layers[name].inputs for name in own) + copies
    sources = {name: name for name in targets if not (handed_on and name == "o_proj")}
    sources |= dict.fromkeys({"q_proj", "k_proj", "v_proj"} & set(targets), "attention")
    sources |= dict.fromkeys({"gate_proj", "up_proj"} & set(targets), "mlp")
    return n * s * sum({source: layers[name].inputs for name, source in sources.items()}.values()) + copies
