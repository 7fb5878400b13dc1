"""What a stack of merged adapters makes of its base, and the stacks that are refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from llmops_assets.training.adapter_files import CorruptAdapter, WrongBase
from llmops_assets.training.adapter_stack import WrongStack, apply_stack
from llmops_assets.training.digests import weights_digest
from llmops_assets.training.job import AdapterRef, BaseModelRef
from llmops_assets.training.lora_layers import NotPlainLora
from llmops_assets.training.model import load_base_model

from .conftest import make_base
from .random_adapters import logits, plain_model, random_lora, random_whole_model


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory, base: BaseModelRef) -> AdapterRef:
    return random_lora(tmp_path_factory.mktemp("first"), base, seed=1)


@pytest.fixture(scope="module")
def over_lora(tmp_path_factory: pytest.TempPathFactory, base: BaseModelRef, lora: AdapterRef) -> AdapterRef:
    return random_lora(tmp_path_factory.mktemp("second"), base, seed=2, merged=(lora,), r=8, use_rslora=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, base: BaseModelRef) -> AdapterRef:
    return random_whole_model(tmp_path_factory.mktemp("whole"), base, seed=3)


def _with_peft(model: Any, *refs: AdapterRef) -> Any:
    for ref in refs:
        model = PeftModel.from_pretrained(model, str(ref.path)).merge_and_unload()
    return model


def test_stack_of_loras_is_what_peft_merges_one_by_one(
    base: BaseModelRef, lora: AdapterRef, over_lora: AdapterRef
) -> None:
    ours = apply_stack(plain_model(base), (lora, over_lora), base)
    peft = _with_peft(plain_model(base), lora, over_lora)
    assert not torch.equal(logits(ours), logits(plain_model(base)))
    for name, weight in peft.named_parameters():
        # The two products are added in another order.
        torch.testing.assert_close(ours.get_parameter(name), weight, rtol=0, atol=2e-7)


def test_weights_in_bfloat16_are_rounded_once(base: BaseModelRef, lora: AdapterRef, over_lora: AdapterRef) -> None:
    rounded = apply_stack(load_base_model(base, "bf16"), (lora, over_lora), base)
    start = load_base_model(base, "bf16").float()
    exact = apply_stack(start, (lora, over_lora), base).bfloat16()
    assert rounded.dtype == torch.bfloat16
    for name, weight in exact.named_parameters():
        assert torch.equal(rounded.get_parameter(name), weight), name


def test_empty_stack_leaves_the_base_alone(base: BaseModelRef) -> None:
    assert torch.equal(logits(apply_stack(plain_model(base), (), base)), logits(plain_model(base)))


def test_whole_model_takes_the_place_of_what_lies_below(
    base: BaseModelRef, lora: AdapterRef, whole: AdapterRef, tmp_path: Path
) -> None:
    trained_over_both = random_lora(tmp_path, base, seed=4, merged=(lora, whole))
    whole_base = BaseModelRef(name=str(whole.path), digest=whole.sha256)
    ours = apply_stack(plain_model(base), (lora, whole, trained_over_both), base)
    peft = _with_peft(plain_model(whole_base), trained_over_both)
    torch.testing.assert_close(logits(ours), logits(peft), rtol=0, atol=1e-6)


def test_other_base_is_refused(lora: AdapterRef, base: BaseModelRef, tmp_path: Path) -> None:
    other = make_base(tmp_path, seed=9)
    with pytest.raises(WrongBase, match="was trained on base"):
        apply_stack(plain_model(other), (lora,), other)


def test_wrong_order_is_refused(base: BaseModelRef, lora: AdapterRef, over_lora: AdapterRef) -> None:
    with pytest.raises(WrongStack, match=r"was trained over lora \w+, but here it would lie over the bare base"):
        apply_stack(plain_model(base), (over_lora, lora), base)


def test_continued_adapter_is_not_merged_over_its_own_parent(
    base: BaseModelRef, lora: AdapterRef, tmp_path: Path
) -> None:
    continued = random_lora(tmp_path, base, seed=5)
    with pytest.raises(WrongStack, match="was trained over the bare base"):
        apply_stack(plain_model(base), (lora, continued), base)


@pytest.mark.parametrize("kind", ["lora", "whole"])
def test_changed_bytes_and_missing_files_are_refused(kind: str, base: BaseModelRef, tmp_path: Path) -> None:
    make = random_lora if kind == "lora" else random_whole_model
    ref = make(tmp_path, base, seed=6)
    file = next(tmp_path.glob("*.safetensors"))
    payload = bytearray(file.read_bytes())
    payload[-1] ^= 1
    file.write_bytes(payload)
    with pytest.raises(CorruptAdapter, match="changed or cut"):
        apply_stack(plain_model(base), (ref,), base)
    file.unlink()
    with pytest.raises(CorruptAdapter, match="safetensors"):
        apply_stack(plain_model(base), (ref,), base)


def test_whole_model_of_another_shape_is_refused(base: BaseModelRef, tmp_path: Path) -> None:
    model = plain_model(base)
    narrower = model.config.from_dict(model.config.to_dict() | {"intermediate_size": 64})
    type(model)(narrower).save_pretrained(tmp_path)
    ref = AdapterRef(path=tmp_path, kind="full", sha256=weights_digest(tmp_path), base_digest=base.digest)
    with pytest.raises(CorruptAdapter, match="does not fit base"):
        apply_stack(model, (ref,), base)


def test_effects_beside_the_matrices_are_refused(base: BaseModelRef, tmp_path: Path) -> None:
    with pytest.raises(NotPlainLora, match="use_dora"):
        apply_stack(plain_model(base), (random_lora(tmp_path, base, seed=7, use_dora=True),), base)


def test_layer_tied_to_the_embedding_is_refused(base: BaseModelRef, tmp_path: Path) -> None:
    ref = random_lora(tmp_path, base, seed=8, target_modules=["q_proj", "lm_head"])
    with pytest.raises(WrongStack, match="leave lm_head out of lora_targets"):
        apply_stack(plain_model(base), (ref,), base)
