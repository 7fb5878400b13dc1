"""An adapter on disk: checks before it is loaded, and the one way in which it is written. Imports no torch at load."""

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmops_assets.errors import LlmopsError
from llmops_assets.training.digests import file_sha256
from llmops_assets.training.job import AdapterRef, BaseModelRef
from llmops_assets.training.specs import StageSpec

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"


class WrongBase(LlmopsError):
    """An adapter is asked to work on a base model that it was not trained on."""


class CorruptAdapter(LlmopsError):
    """An adapter's files are missing, unreadable, or not the bytes that their reference names."""


class WrongAdapterShape(LlmopsError):
    """A stage that continues an adapter asks for another LoRA shape than the parent has."""


def verify_adapter(ref: AdapterRef, base: BaseModelRef) -> dict[str, Any]:
    """Check that `ref` holds the bytes it claims and belongs to `base`; return its adapter_config.json.

    Raises WrongBase and CorruptAdapter.
    """
    if ref.base_digest != base.digest:
        raise WrongBase(
            f"adapter {ref.path} was trained on base {ref.base_digest[:16]}, but the job's base {base.name} is "
            f"{base.digest[:16]}; use that adapter's own base, or train the parent again on this one"
        )
    weights, config = ref.path / WEIGHTS_FILE, ref.path / CONFIG_FILE
    for file in (weights, config):
        if not file.is_file():
            raise CorruptAdapter(f"{file} is missing; materialize the parent adapter again")
    found = file_sha256(weights)
    if found != ref.sha256:
        raise CorruptAdapter(
            f"{weights}: sha256 is {found[:16]}, expected {ref.sha256[:16]}; the file was changed or cut after it was "
            "written, materialize the parent adapter again"
        )
    try:
        return json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorruptAdapter(f"{config}: not JSON ({error}); materialize the parent adapter again") from error


def check_targets(parent_config: dict[str, Any], spec: StageSpec, path: Path) -> None:
    """Raise WrongAdapterShape unless `spec` asks for the target layers of the parent adapter."""
    wanted, found = sorted(spec.lora_targets), sorted(parent_config.get("target_modules") or [])
    if wanted != found:
        raise WrongAdapterShape(
            f"lora_targets: {wanted} differs from the parent adapter's {found} ({path / CONFIG_FILE}); a stage that "
            "continues an adapter keeps its layers: set the same lora_targets, or adapter_mode: merge_then_new"
        )


def write_adapter(folder: Path, tensors: "dict[str, Tensor]", config: dict[str, Any]) -> str:
    """Write an adapter's two files, each atomically, and return the sha256 of the weights.

    `tensors` are named as in PEFT's files (`...lora_A.weight`, without an adapter name). The bytes depend on names and
    values only, so equal training gives equal files.
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    payload = save({name: tensors[name] for name in sorted(tensors)}, metadata={"format": "pt"})
    write_atomically(folder / CONFIG_FILE, json.dumps(config, indent=2, sort_keys=True).encode("utf-8"))
    write_atomically(folder / WEIGHTS_FILE, payload)
    return hashlib.sha256(payload).hexdigest()


def write_atomically(path: Path, payload: bytes) -> None:
    """Write `payload` so that a reader sees the old file, or the whole new one, also after a crash."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(payload)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)  # on a full disk, half a file is in the way
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
