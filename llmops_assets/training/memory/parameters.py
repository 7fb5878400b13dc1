"""Bytes of everything that belongs to parameters: base weights, LoRA, gradients and optimizer, whole or sharded."""

from dataclasses import dataclass
from math import ceil

from llmops_assets.training.memory.shapes import Linear, ModelShape
from llmops_assets.training.specs import AnyStageSpec

BYTES = {"fp32": 4, "bf16": 2}

# reduce_bucket_size of configs/deepspeed/zero1.json and zero2.json, in elements.
REDUCE_BUCKET = 50_000_000
# DeepSpeed's default of stage3_max_live_parameters: gathered parameters are given back only above it.
MAX_LIVE_PARAMETERS = 1_000_000_000
# "auto" of stage3_param_persistence_threshold, times the hidden size: smaller tensors stay whole on every rank.
_PERSISTENCE_FACTOR = 10

_NF4_BLOCK = 64
_NF4_SECOND_BLOCK = 256
# Code books of a tensor (16 and 256 float32) and the offset of the second quantisation.
_NF4_TABLES = 4 * (16 + 256) + 4


@dataclass(frozen=True)
class TrainableState:
    """Bytes on one GPU for what is trained: LoRA weights, gradients, float32 masters, AdamW moments, engine buckets.

    The weights of a full fine-tuning are those of the base, so `weights` is 0 then.
    """

    weights: float
    gradients: float
    masters: float
    moments: float
    buckets: float


def zero_stage(spec: AnyStageSpec) -> int:
    """Return the ZeRO stage of a spec's backend, 0 for plain and ddp."""
    return int(spec.backend.removeprefix("zero")) if spec.backend.startswith("zero") else 0


def quantized_bytes(layer: Linear, quantization: str, size: int) -> int:
    """Return the bytes of a linear layer's weights, without its bias; `size` is bytes per unquantised weight.

    8bit (LLM.int8, arXiv 2208.07339): one byte per weight and one float32 scale per output row.
    4bit (QLoRA, arXiv 2305.14314, NF4 with double quantisation): n/2 bytes, an 8-bit scale per 64 weights, a float32
    scale per 256 of those, and the code books of the tensor.
    """
    if quantization == "8bit":
        return layer.weights + 4 * layer.outputs
    if quantization == "4bit":
        blocks = ceil(layer.weights / _NF4_BLOCK)
        return ceil(layer.weights / 2) + blocks + 4 * ceil(blocks / _NF4_SECOND_BLOCK) + _NF4_TABLES
    return size * layer.weights


def base_bytes(shape: ModelShape, spec: AnyStageSpec) -> tuple[int, int]:
    """Return the bytes of the base (linear layers of the blocks, everything else) before any sharding.

    Embedding, LM head, norms and biases are never quantised: bitsandbytes replaces the blocks' linear layers only.
    """
    size = weight_size(spec)
    layers = shape.linear_layers().values()
    blocks = shape.layers * sum(quantized_bytes(layer, spec.quantization, size) for layer in layers)
    rest = shape.embedding_parameters + shape.layers * shape.small_parameters_per_layer + shape.hidden
    return blocks, rest * size


def weight_size(spec: AnyStageSpec) -> int:
    """Return the bytes of one base weight. Without an engine that keeps float32 masters, trained ones are float32."""
    return 4 if spec.finetuning == "full" and not zero_stage(spec) else BYTES[spec.precision]


def trained_parameters(shape: ModelShape, spec: AnyStageSpec) -> int:
    """Return the number of weights that a stage trains: the LoRA's, or all of the model's."""
    return int(shape.parameters) if spec.finetuning == "full" else lora_parameters(shape, spec)


def lora_parameters(shape: ModelShape, spec: AnyStageSpec) -> int:
    """Return the number of LoRA weights: r * (inputs + outputs) per target layer (Hu et al. 2021, arXiv 2106.09685).

    A target that is none of the block's linear layers counts nothing; PEFT refuses it when the model is made.
    """
    return shape.layers * sum(_lora_matrices(shape, spec))


def _lora_matrices(shape: ModelShape, spec: AnyStageSpec) -> list[int]:
    """Weights of every LoRA matrix of one block, A and B apart."""
    layers = shape.linear_layers()
    targets = [layers[name] for name in set(spec.lora_targets) if name in layers]
    return [spec.lora_r * width for layer in targets for width in (layer.inputs, layer.outputs)]


def _lora_on_one_gpu(shape: ModelShape, spec: AnyStageSpec) -> float:
    """LoRA weights that one GPU holds: all, or under ZeRO-3 its share of those above the persistence threshold."""
    if zero_stage(spec) != 3:
        return lora_parameters(shape, spec)
    limit = _PERSISTENCE_FACTOR * shape.hidden
    matrices = _lora_matrices(shape, spec)
    return shape.layers * sum(size if size <= limit else size / spec.num_processes for size in matrices)


def lora_size(spec: AnyStageSpec) -> int:
    """Return the bytes of one LoRA weight in the model.

    PEFT keeps it in float32 over a bfloat16 or quantised base; a ZeRO engine casts it to bfloat16 and holds float32
    masters apart.
    """
    return BYTES[spec.precision] if zero_stage(spec) else 4


def trainable_state(shape: ModelShape, spec: AnyStageSpec) -> TrainableState:
    """Return the bytes of what is trained on one of N GPUs by ZeRO stage (Rajbhandari et al. 2019, arXiv 1910.02054).

    With P parameters of s bytes: weights P*s (stage 3: P*s/N, but for matrices too small to shard); gradients P*s
    (stages 2 and 3: P*s/N); masters 4*P/N under ZeRO, which keeps them also for float32 weights, else none; AdamW
    moments 8*P/N under ZeRO, else 2*s*P, as torch makes them in the type of the weights. Buckets are what the engine
    reduces gradients in: DDP holds a second copy of them, ZeRO 1 and 2 a buffer of `reduce_bucket_size` elements,
    ZeRO-3 ("auto") one of hidden^2.
    """
    count, size, stage, ranks = trained_parameters(shape, spec), lora_size(spec), zero_stage(spec), spec.num_processes
    full = spec.finetuning == "full"
    if not stage:
        buckets = count * size if spec.backend == "ddp" else 0
        return TrainableState(0 if full else count * size, count * size, 0, 2 * size * count, buckets)
    return TrainableState(
        weights=0 if full else size * _lora_on_one_gpu(shape, spec),
        gradients=count * size / (ranks if stage >= 2 else 1),
        masters=4 * count / ranks,
        moments=8 * count / ranks,
        buckets=size * (shape.hidden**2 if stage == 3 else REDUCE_BUCKET),
    )


def reference_bytes(shape: ModelShape, spec: AnyStageSpec) -> float:
    """Return the bytes of KTO's frozen reference, a copy of what is trained; 0 for other stages.

    DPO's reference is not in memory: its log-probs were taken before. ZeRO-3 shards a LoRA.
    """
    if spec.stage != "kto":
        return 0
    if spec.finetuning == "full":
        return sum(sharded_base_bytes(shape, spec))
    return _lora_on_one_gpu(shape, spec) * lora_size(spec)


def gathered_bytes(shape: ModelShape, spec: AnyStageSpec) -> float:
    """Return what ZeRO-3 holds beyond its shard while it computes; 0 for other stages and for one rank.

    DeepSpeed frees gathered parameters only above `stage3_max_live_parameters`, 1e9 by default, so this is
    min(P, 1e9 + the largest tensor) parameters less the shard that is there already, in bytes of the base.
    """
    if zero_stage(spec) != 3 or spec.num_processes == 1:
        return 0
    blocks, rest = base_bytes(shape, spec)
    largest = max(shape.vocabulary * shape.hidden, *(layer.weights for layer in shape.linear_layers().values()))
    share = min(1.0, (MAX_LIVE_PARAMETERS + largest) / shape.parameters)
    return (blocks + rest) * share * (1 - 1 / spec.num_processes)


def sharded_base_bytes(shape: ModelShape, spec: AnyStageSpec) -> tuple[float, float]:
    """Return `base_bytes` as one GPU holds it: divided by the ranks under ZeRO-3, but for tensors too small to shard.

    Norms and biases below the persistence threshold, 10 * hidden elements by "auto", stay whole.
    """
    blocks, rest = base_bytes(shape, spec)
    if zero_stage(spec) != 3:
        return blocks, rest
    persistent = shape.layers * shape.small_parameters_per_layer + shape.hidden
    wide = sum(
        layer.outputs
        for layer in shape.linear_layers().values()
        if layer.bias and layer.outputs > _PERSISTENCE_FACTOR * shape.hidden
    )
    whole = (persistent - shape.layers * wide) * BYTES[spec.precision]
    return blocks / spec.num_processes, whole + (rest - whole) / spec.num_processes
