"""Content hashes of model files. Imports no torch, so that the Dagster layer may use it."""

import hashlib
from pathlib import Path

from llmops_assets.errors import LlmopsError

_SETTINGS = (
    *("adapter_config.json", "chat_template.jinja", "config.json", "generation_config.json"),
    *("special_tokens_map.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json"),
)


class NoWeights(LlmopsError):
    """A base model's folder holds no safetensors file."""


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes as 64 hex digits. Raises OSError if it cannot be read."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def settings_digest(folder: Path) -> str:
    """Return the sha256 over the files beside a model's weights that its answers depend on too, those that are there.

    They are its configuration, its tokenizer and its chat template; of an adapter, adapter_config.json.
    """
    found = (path for name in _SETTINGS if (path := folder / name).is_file())
    lines = "".join(f"{path.name} {file_sha256(path)}\n" for path in found)
    return hashlib.sha256(lines.encode("utf-8")).hexdigest()


def weights_digest(folder: Path) -> str:
    """Return the digest of a base model's weights: the sha256 of its one safetensors file.

    For a sharded model it is the sha256 over the lines `<name> <sha256>` of all shards in name order.

    Raises NoWeights if there is no safetensors file: pickled weights are never read.
    """
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise NoWeights(f"{folder}: no *.safetensors file; convert the base model's weights to safetensors")
    if len(shards) == 1:
        return file_sha256(shards[0])
    lines = "".join(f"{shard.name} {file_sha256(shard)}\n" for shard in shards)
    return hashlib.sha256(lines.encode("utf-8")).hexdigest()
