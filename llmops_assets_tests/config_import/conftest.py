"""A folder with configs of other systems and small data sets, and an importer that reads them from there."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmops_assets.config_import.importing import Imported, import_files
from llmops_assets.config_import.settings import ConfigImportError
from llmops_assets.recipe import Recipe, load_recipe

BASE = "Qwen/Qwen2.5-0.5B-Instruct"

ALPACA = [
    {"instruction": "Add.", "input": "1 and 2", "output": "3"},
    {"instruction": "Say hello.", "input": "", "output": "Hello."},
    {"instruction": "Name a colour.", "input": "", "output": "Red."},
]
SHAREGPT = [{"conversations": [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Hello."}]}]
MESSAGES = [{"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}]}]
PAIRS = [
    {
        "conversations": [{"from": "human", "value": "Hi?"}],
        "chosen": {"from": "gpt", "value": "Hello."},
        "rejected": {"from": "gpt", "value": "Go."},
    }
]
REGISTRY: dict[str, dict[str, Any]] = {
    "alpaca": {"file_name": "alpaca.json"},
    "sharegpt": {"file_name": "sharegpt.json", "formatting": "sharegpt"},
    "messages": {
        "file_name": "messages.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    },
    "documents": {"file_name": "documents.jsonl", "columns": {"prompt": "text"}},
    "thumbs": {"file_name": "thumbs.json", "columns": {"prompt": "q", "response": "a", "kto_tag": "good"}},
    "pairs": {
        "file_name": "pairs.json",
        "ranking": True,
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
    },
    "hub_alpaca": {"hf_hub_url": "owner/alpaca"},
    "hub_messages": {
        "hf_hub_url": "owner/chats",
        "split": "train_sft",
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    },
}


@dataclass(frozen=True)
class Desk:
    """Writes configs into its folder and imports them."""

    folder: Path

    def write(self, name: str, config: dict[str, Any] | str) -> Path:
        """Write a config file; a string is written as it is."""
        file = self.folder / name
        file.write_text(config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False))
        return file

    def bring(self, *arguments: Path | str, kind: str = "auto") -> tuple[Recipe, Imported]:
        """Import files and overrides as `lane.yaml`, and load the recipe."""
        out = self.folder / "recipes" / "lane.yaml"
        out.unlink(missing_ok=True)
        result = import_files([str(a) for a in arguments], None, out, kind, self.folder / "recipes")
        return load_recipe(result.recipe), result

    def complaint(self, *arguments: Path | str, kind: str = "auto") -> str:
        """Import, expect a refusal that has written nothing, and return its message."""
        with pytest.raises(ConfigImportError) as caught:
            self.bring(*arguments, kind=kind)
        assert not (self.folder / "recipes").exists()
        return str(caught.value)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    data = tmp_path / "data"
    data.mkdir()
    (data / "dataset_info.json").write_text(json.dumps(REGISTRY))
    (data / "thumbs.json").write_text(json.dumps([{"q": "Hi?", "a": "Hello.", "good": True}]))
    (data / "pairs.json").write_text(json.dumps(PAIRS))
    (data / "alpaca.json").write_text(json.dumps(ALPACA))
    (data / "sharegpt.json").write_text(json.dumps(SHAREGPT))
    (data / "messages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in MESSAGES))
    (data / "documents.jsonl").write_text(json.dumps({"text": "One document."}) + "\n")
    return Desk(tmp_path)


@pytest.fixture
def llama_factory() -> Callable[..., dict[str, Any]]:
    """Return a maker of small LLaMA-Factory configs; keyword arguments replace keys."""

    def make(stage: str = "sft", /, **keys: Any) -> dict[str, Any]:
        dataset = {"pt": "documents", "sft": "messages", "dpo": "pairs", "kto": "thumbs"}[stage]
        basic = {"model_name_or_path": BASE, "stage": stage, "dataset": dataset, "output_dir": f"saves/{stage}"}
        return basic | keys

    return make
