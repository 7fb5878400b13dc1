"""A LoRA that grows stays the function that it was."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor

from llmops_assets.training.adapter_files import WrongAdapterShape, write_adapter
from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.lora_layers import lora_layers, lora_scale
from llmops_assets.training.rank_change import grow_rank
from llmops_assets.training.specs import SftSpec

from .random_adapters import logits, plain_model, random_lora


def _spec(**keys: Any) -> SftSpec:
    return SftSpec.model_validate({"max_steps": 1, "learning_rate": 1e-3, **keys})


def _adapter(folder: Path, base: BaseModelRef, **config: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    ref = random_lora(folder, base, seed=1, **config)
    return load_file(ref.path / "adapter_model.safetensors"), json.loads((ref.path / "adapter_config.json").read_text())


def _products(tensors: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    layers = lora_layers(tensors, config, Path("test"))
    return {name: layer.b.double() @ layer.a.double() * lora_scale(config) for name, layer in layers.items()}


@pytest.mark.parametrize("alpha", [16, 32, 8])
def test_product_is_the_same_bit_for_bit_when_scales_differ_by_a_power_of_two(
    alpha: int, base: BaseModelRef, tmp_path: Path
) -> None:
    tensors, config = _adapter(tmp_path, base)
    grown, grown_config = grow_rank(tensors, config, _spec(lora_r=8, lora_alpha=alpha))
    assert (grown_config["r"], grown_config["lora_alpha"]) == (8, alpha)
    before, after = _products(tensors, config), _products(grown, grown_config)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("rslora", [False, True])
def test_model_computes_what_it_computed(rslora: bool, base: BaseModelRef, tmp_path: Path) -> None:
    tensors, config = _adapter(tmp_path / "parent", base, use_rslora=rslora)
    write_adapter(tmp_path / "grown", *grow_rank(tensors, config, _spec(lora_r=6, lora_alpha=7)))
    before = PeftModel.from_pretrained(plain_model(base), str(tmp_path / "parent"))
    after = PeftModel.from_pretrained(plain_model(base), str(tmp_path / "grown"))
    torch.testing.assert_close(logits(after), logits(before), rtol=0, atol=2e-6)
    assert not torch.allclose(logits(after), logits(plain_model(base)), atol=1e-2)


def test_new_rows_are_drawn_from_the_seed_and_can_learn(base: BaseModelRef, tmp_path: Path) -> None:
    tensors, config = _adapter(tmp_path, base)
    once, again, other = (
        grow_rank(tensors, config, _spec(lora_r=8, lora_alpha=16, seed=seed))[0] for seed in (3, 3, 4)
    )
    a = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    assert torch.equal(once[a], again[a]) and not torch.equal(once[a], other[a])
    assert torch.equal(once[a][:4], tensors[a])
    # As in a fresh LoRA: uniform within 1 / sqrt(48 inputs), no row of zeros, or nothing would ever reach B.
    assert once[a][4:].abs().amax(dim=1).gt(0).all() and once[a][4:].abs().max() <= 48**-0.5


def test_same_rank_and_scale_change_nothing(base: BaseModelRef, tmp_path: Path) -> None:
    tensors, config = _adapter(tmp_path, base)
    same, same_config = grow_rank(tensors, config, _spec(lora_r=4, lora_alpha=8))
    assert same_config == config and all(torch.equal(same[name], tensors[name]) for name in tensors)


def test_shrinking_is_refused_and_names_the_way_out(base: BaseModelRef, tmp_path: Path) -> None:
    tensors, config = _adapter(tmp_path, base)
    with pytest.raises(WrongAdapterShape, match="adapter_mode: merge_then_new"):
        grow_rank(tensors, config, _spec(lora_r=2))
