"""A tiny lane of its own: a small random base, files that it writes itself, and loose gates; the real graph over it."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from llmops_assets.settings import configs_dir
from llmops_assets_tests.training.conftest import make_base, sentence

REPOSITORY = Path(__file__).parents[2]
NAME = "tiny"


@dataclass(frozen=True)
class TinyLane:
    """Where the lane lies. `environment` points Dagster and the project at it."""

    root: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DAGSTER_HOME": str(self.root / "home"),
            "LLMOPS_STATE_DIR": str(self.root / "state"),
            "LLMOPS_CONFIGS_DIR": str(self.root / "configs"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }

    def take_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Point this process at the lane until the test ends; what the caller's environment names is not touched."""
        for name in ("DAGSTER_HOME", "LLMOPS_STATE_DIR", "LLMOPS_CONFIGS_DIR"):
            monkeypatch.setenv(name, self.environment[name])
        for name in ("LLMOPS_ARTIFACTS_URL", "LLMOPS_FEEDBACK_URL", "MLFLOW_TRACKING_URI"):
            monkeypatch.delenv(name, raising=False)

    @property
    def recipe_file(self) -> Path:
        return self.root / "configs" / "recipes" / f"{NAME}.yaml"

    def dagster(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the Dagster command line as a user would."""
        return subprocess.run(
            [sys.executable, "-m", "dagster", *arguments],
            env=self.environment,
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=560,
        )

    def materialize(self, *assets: str, config: dict | None = None) -> "subprocess.CompletedProcess[str]":
        """`dagster asset materialize` the named assets of the lane in a subprocess."""
        selection = " or ".join(f'key:"{NAME}/{asset}"' for asset in assets)
        arguments = ["asset", "materialize", "-m", "llmops_assets.definitions", "--select", selection]
        if config is not None:
            ops = {f"{NAME}__{asset}": {"config": values} for asset, values in config.items()}
            arguments += ["--config-json", json.dumps({"ops": ops})]
        return self.dagster(*arguments)


def make_tiny_lane(root: Path) -> TinyLane:
    """Write base, data, recipe and an empty Dagster home under `root`."""
    for folder in ("home", "state", "configs/recipes", "data"):
        (root / folder).mkdir(parents=True)
    shutil.copytree(configs_dir() / "deepspeed", root / "configs" / "deepspeed")
    shutil.copy(REPOSITORY / "dagster.yaml", root / "home" / "dagster.yaml")
    make_base(root / "base", seed=1)
    documents = [
        {"text": f"Document {index}. " + " ".join(sentence(index * 11 + step) for step in range(3 + index % 4))}
        for index in range(200)
    ]
    chats = [
        {
            "messages": [
                {"role": "user", "content": f"What does item {index} do?"},
                {"role": "assistant", "content": sentence(index)},
            ]
        }
        for index in range(200)
    ]
    for name, rows in (("documents", documents), ("chats", chats)):
        (root / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lane = TinyLane(root)
    lane.recipe_file.write_text(yaml.safe_dump(_recipe(root)))
    return lane


def _recipe(root: Path) -> dict:
    stage = {"max_length": 128, "batch_size": 8, "lora_r": 8, "lora_alpha": 16, "precision": "fp32", "logging_steps": 5}
    return {
        "name": NAME,
        "description": "A lane for the tests.",
        "base_model": {"name": str(root / "base")},
        "corpus": {
            "sources": [{"kind": "files", "name": "documents", "pattern": "../../data/documents.jsonl"}],
            "min_words": 5,
            "near_duplicate_threshold": 1.0,
            "chunk_tokens": 127,
            "heldout_share": 0.2,
        },
        "sft_set": {
            "sources": [{"kind": "files", "name": "chats", "pattern": "../../data/chats.jsonl"}],
            "max_tokens": 128,
            "eval_share": 0.25,
        },
        "cpt": {**stage, "max_steps": 20, "learning_rate": 0.01, "checkpoint_every": 5},
        "sft": {**stage, "max_steps": 60, "learning_rate": 0.01, "checkpoint_every": 20},
        "dpo": {**stage, "max_steps": 10, "learning_rate": 0.002, "checkpoint_every": 5},
        "preferences": {"minimum": 10, "weekly_minimum": 2, "cooldown_minutes": 0, "sealed_share": 0.4},
        "evaluation": {
            "perplexity_window": 128,
            "perplexity_stride": 64,
            "max_perplexity_tokens": 2000,
            "max_questions": 30,
            "max_new_tokens": 24,
        },
        "gate": {
            "min_examples": 5,
            "rouge_l_margin": 1.0,
            "exact_match_margin": 1.0,
            "perplexity_ratio": 100.0,
            "sft_perplexity_ratio": 100.0,
            "length_ratio": 100.0,
        },
    }
