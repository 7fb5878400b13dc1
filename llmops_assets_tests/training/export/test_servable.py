"""What vLLM is known to refuse is said before a folder is handed to it."""

import json

import pytest
import torch
from safetensors.torch import load_file

from llmops_assets.training.export.servable import max_lora_rank, servable_problems
from llmops_assets.training.job import AdapterRef


def _problems(ref: AdapterRef, **config: object) -> list[str]:
    saved = json.loads((ref.path / "adapter_config.json").read_text())
    return servable_problems(saved | config, load_file(ref.path / "adapter_model.safetensors"))


def test_plain_and_rank_stabilised_loras_are_servable(lora: AdapterRef) -> None:
    assert _problems(lora) == [] and _problems(lora, use_rslora=True) == []


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"lora_bias": True}, "lora_bias"),
        ({"bias": "all"}, "biases"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern"),
        ({"alpha_pattern": {"q_proj": 8}}, "alpha_pattern"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"r": 1024}, "rank 1024 is above 512"),
        ({"r": 8}, "not rank 8"),
    ],
)
def test_everything_else_is_named(lora: AdapterRef, config: dict[str, object], named: str) -> None:
    assert any(named in problem for problem in _problems(lora, **config))


def test_all_reasons_are_given_at_once(lora: AdapterRef) -> None:
    assert len(_problems(lora, use_dora=True, r=1024)) == 2


def test_stray_tensor_is_named(lora: AdapterRef) -> None:
    config = json.loads((lora.path / "adapter_config.json").read_text())
    tensors = load_file(lora.path / "adapter_model.safetensors") | {"ref.weight": torch.zeros(1)}
    assert "ref.weight" in servable_problems(config, tensors)[0]


@pytest.mark.parametrize(
    ("rank", "served_by"), [(1, 1), (4, 8), (16, 16), (24, 32), (300, 320), (512, 512), (513, None)]
)
def test_smallest_flag_that_serves_a_rank(rank: int, served_by: int | None) -> None:
    assert max_lora_rank(rank) == served_by
