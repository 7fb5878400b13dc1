"""The embedded base model: a small Qwen2 language model with its tokenizer, shipped inside the package."""

from pathlib import Path


def embedded_base_model_path() -> Path:
    """Return the directory of the embedded base model, in the layout that `from_pretrained` of transformers reads."""
    return Path(__file__).parent / "apidocs_qwen2"
