"""A model of which all parameters were trained, on disk: a folder that `from_pretrained` loads."""

import hashlib
from pathlib import Path

from safetensors.torch import save
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmops_assets.training.adapter_files import write_atomically

WEIGHTS_FILE = "model.safetensors"


def write_whole_model(
    folder: Path, tensors: dict[str, Tensor], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> str:
    """Write weights, configuration and tokenizer to `folder` and return the sha256 of the weights.

    `tensors` are in float32 and named as the model names its parameters; shared ones are there once. The bytes of the
    weights depend on names and values only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    payload = save({name: tensors[name] for name in sorted(tensors)}, metadata={"format": "pt"})
    model.config.save_pretrained(folder)
    if model.generation_config is not None:
        model.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_atomically(folder / WEIGHTS_FILE, payload)
    return hashlib.sha256(payload).hexdigest()
