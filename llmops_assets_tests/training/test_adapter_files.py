"""Adapters that must not be loaded, and how one is written."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from llmops_assets.training.adapter_files import (
    CorruptAdapter,
    WrongAdapterShape,
    WrongBase,
    verify_adapter,
    write_adapter,
)
from llmops_assets.training.digests import file_sha256
from llmops_assets.training.job import AdapterRef, BaseModelRef, TrainingJob, TrainingResult
from llmops_assets.training.model import BaseModelUnavailable, load_adapter, load_base_model, load_tokenizer
from llmops_assets.training.specs import SftSpec

from .conftest import adapter_ref, make_base

Run = tuple[TrainingJob, TrainingResult]


def test_adapter_of_another_base_is_refused_though_it_would_fit(sft_zero2: Run, tmp_path: Path) -> None:
    other = make_base(tmp_path, seed=2)
    with pytest.raises(WrongBase, match="was trained on base"):
        load_adapter(load_base_model(other, "fp32"), adapter_ref(sft_zero2[0]), other)


def test_changed_weights_are_refused(sft_zero2: Run, base: BaseModelRef, tmp_path: Path) -> None:
    ref = adapter_ref(sft_zero2[0])
    copy = AdapterRef(path=tmp_path / "copy", sha256=ref.sha256, base_digest=ref.base_digest)
    shutil.copytree(ref.path, copy.path)
    verify_adapter(copy, base)
    weights = copy.path / "adapter_model.safetensors"
    payload = bytearray(weights.read_bytes())
    payload[-1] ^= 1
    weights.write_bytes(payload)
    with pytest.raises(CorruptAdapter, match="changed or cut"):
        verify_adapter(copy, base)


def test_missing_file_is_named(base: BaseModelRef, tmp_path: Path) -> None:
    with pytest.raises(CorruptAdapter, match=r"adapter_model\.safetensors is missing"):
        verify_adapter(AdapterRef(path=tmp_path, sha256="0" * 64, base_digest=base.digest), base)


@pytest.mark.parametrize(("key", "value"), [("lora_r", 2), ("lora_targets", ["q_proj"])])
def test_stage_that_continues_with_a_smaller_rank_or_other_layers_is_refused(
    sft_zero2: Run, base: BaseModelRef, key: str, value: object
) -> None:
    spec = SftSpec.model_validate({"max_steps": 1, "learning_rate": 1e-3, "lora_r": 4, "lora_alpha": 8} | {key: value})
    with pytest.raises(WrongAdapterShape, match=key):
        load_adapter(load_base_model(base, "fp32"), adapter_ref(sft_zero2[0]), base, continued_by=spec)


@pytest.mark.parametrize("shape", [{"lora_r": 8}, {"lora_r": 8, "lora_alpha": 4}, {"lora_r": 4, "lora_alpha": 32}])
def test_continued_lora_of_a_larger_rank_or_another_scale_starts_as_the_same_function(
    sft_zero2: Run, base: BaseModelRef, shape: dict[str, int]
) -> None:
    spec = SftSpec.model_validate({"max_steps": 1, "learning_rate": 1e-3, "lora_alpha": 8} | shape)
    tokens = torch.arange(40, 60)[None]
    with torch.no_grad():
        before = load_adapter(load_base_model(base, "fp32"), adapter_ref(sft_zero2[0]), base).eval()(input_ids=tokens)
        grown = load_adapter(load_base_model(base, "fp32"), adapter_ref(sft_zero2[0]), base, continued_by=spec)
        after = grown.eval()(input_ids=tokens)
    torch.testing.assert_close(after.logits, before.logits, rtol=1e-5, atol=1e-5)
    trained = {name: weights for name, weights in grown.named_parameters() if weights.requires_grad}
    assert {weights.shape[0] for name, weights in trained.items() if "lora_A" in name} == {spec.lora_r}


def test_base_whose_weights_changed_is_refused(base: BaseModelRef) -> None:
    with pytest.raises(BaseModelUnavailable, match="weights digest"):
        load_base_model(base.model_copy(update={"digest": "0" * 64}), "fp32")


def test_folder_without_a_tokenizer_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    with pytest.raises(BaseModelUnavailable, match=r"tokenizer .* cannot be loaded"):
        load_tokenizer(BaseModelRef(name=str(tmp_path), digest=""))


def test_written_bytes_depend_on_names_and_values_not_on_their_order(tmp_path: Path) -> None:
    one, two = torch.ones(2, 2), torch.zeros(3)
    first = write_adapter(tmp_path / "first", {"a": one, "b": two}, {"r": 1})
    second = write_adapter(tmp_path / "second", {"b": two, "a": one}, {"r": 1})
    assert first == second == file_sha256(tmp_path / "first" / "adapter_model.safetensors")
    assert [path.name for path in sorted((tmp_path / "first").iterdir())] == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
