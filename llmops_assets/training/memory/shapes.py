"""The dimensions of a base model, read from its config.json: all that a memory estimate needs to know of it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmops_assets.errors import LlmopsError
from llmops_assets.training.specs import LORA_TARGETS

# Where a family has biases, and whether it normalises queries and keys per head (transformers 5.23 modelling files).
_QKV_BIAS = {"qwen2": True, "qwen3": False, "llama": False, "mistral": False}
_QK_NORM = {"qwen3"}


class UnknownShape(LlmopsError):
    """A base model whose memory cannot be estimated: no config, or not one of the known families."""


@dataclass(frozen=True)
class Linear:
    """One linear layer: `outputs` x `inputs` weights, and a bias of `outputs` if it has one."""

    inputs: int
    outputs: int
    bias: bool = False

    @property
    def weights(self) -> int:
        """Number of weights without the bias."""
        return self.inputs * self.outputs


@dataclass(frozen=True)
class ModelShape:
    """A decoder of the Llama kind: grouped-query attention, gated SiLU MLP, RMSNorm, rotary positions.

    `query_width` and `key_value_width` are heads times head size.
    """

    family: str
    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    head_size: int
    intermediate: int
    vocabulary: int
    tied: bool
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norm: bool

    @property
    def query_width(self) -> int:
        """Width of the queries, all heads together."""
        return self.heads * self.head_size

    @property
    def key_value_width(self) -> int:
        """Width of the keys, and of the values, all heads together."""
        return self.key_value_heads * self.head_size

    def linear_layers(self) -> dict[str, Linear]:
        """Return the seven linear layers of one block, by the names that `lora_targets` uses."""
        wide, narrow = self.query_width, self.key_value_width
        shapes = (
            Linear(self.hidden, wide, self.qkv_bias),
            Linear(self.hidden, narrow, self.qkv_bias),
            Linear(self.hidden, narrow, self.qkv_bias),
            Linear(wide, self.hidden, self.output_bias),
            Linear(self.hidden, self.intermediate, self.mlp_bias),
            Linear(self.hidden, self.intermediate, self.mlp_bias),
            Linear(self.intermediate, self.hidden, self.mlp_bias),
        )
        return dict(zip(LORA_TARGETS, shapes, strict=True))

    @property
    def small_parameters_per_layer(self) -> int:
        """Norm weights and biases of one block; quantisation leaves them as they are."""
        norms = 2 * self.hidden + (2 * self.head_size if self.qk_norm else 0)
        return norms + sum(layer.outputs for layer in self.linear_layers().values() if layer.bias)

    @property
    def embedding_parameters(self) -> int:
        """Input embedding, and LM head unless it is tied to it."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All weights of the base model."""
        block = sum(layer.weights for layer in self.linear_layers().values()) + self.small_parameters_per_layer
        return self.embedding_parameters + self.layers * block + self.hidden


def shape_of_config(config: dict[str, Any], origin: str) -> ModelShape:
    """Read the shape from the content of a config.json; `origin` names it in errors. Raises UnknownShape."""
    family = config.get("model_type")
    if family not in _QKV_BIAS:
        known = ", ".join(sorted(_QKV_BIAS))
        raise UnknownShape(f"{origin}: no memory estimate for model_type: {family}; estimates exist for {known}")
    try:
        heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
        attention_bias = bool(config.get("attention_bias", False))
        return ModelShape(
            family=family,
            hidden=hidden,
            layers=int(config["num_hidden_layers"]),
            heads=heads,
            key_value_heads=int(config.get("num_key_value_heads") or heads),
            head_size=int(config.get("head_dim") or (128 if family == "qwen3" else hidden // heads)),
            intermediate=int(config["intermediate_size"]),
            vocabulary=int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings", False)),
            qkv_bias=_QKV_BIAS[family] or attention_bias,
            output_bias=attention_bias,
            mlp_bias=bool(config.get("mlp_bias", False)),
            qk_norm=family in _QK_NORM,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UnknownShape(f"{origin}: {error!r} instead of a number; is it the config.json of a model?") from error


def shape_of_file(path: Path) -> ModelShape:
    """Read the shape from a config.json. Raises UnknownShape."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnknownShape(f"{path}: cannot be read as a model's config.json ({error}); name another") from error
    if not isinstance(config, dict):
        raise UnknownShape(f"{path}: is no JSON object; name a model's config.json")
    return shape_of_config(config, str(path))


def shape_of_base(name: str, revision: str | None) -> ModelShape:
    """Read the shape of a local folder, or of a hub repository whose config.json is in the cache; asks no server.

    Raises UnknownShape.
    """
    if (folder := Path(name)).is_dir():
        return shape_of_file(folder / "config.json")
    # Reads its environment when it is imported, which a worker prepares first.
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(name, "config.json", revision=revision)
    if not isinstance(cached, str):
        at = "" if revision is None else f" at {revision}"
        raise UnknownShape(
            f"config.json of {name}{at} is neither in a folder nor in the Hugging Face cache; download it with "
            f"`hf download {name} config.json`, or plan with --config path/to/config.json"
        )
    return shape_of_file(Path(cached))
