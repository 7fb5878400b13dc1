"""Training over a quantised base: SFT, and DPO that continues its adapter, on the CPU with the real bitsandbytes."""

import importlib.util
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from llmops_assets.training import model
from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.model import QuantizationUnavailable, load_base_model, new_adapter
from llmops_assets.training.specs import SftSpec

from .conftest import Files, adapter_ref, make_job, run_to_result

installed = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes (extra gpu) is not installed"
)


@installed
@pytest.mark.slow
def test_sft_and_dpo_train_over_a_quantised_base(base: BaseModelRef, files: Files, tmp_path: Path) -> None:
    settings = {"backend": "zero2", "precision": "bf16", "quantization": "4bit", "max_steps": 2}
    sft = make_job(tmp_path / "sft", base, files.sft, {"stage": "sft", **settings})
    run_to_result(sft)
    dpo = make_job(tmp_path / "dpo", base, files.dpo, {"stage": "dpo", **settings}, adapter_ref(sft))
    reference = run_to_result(dpo).reference
    assert reference is not None
    assert reference["reference_sha256"] == adapter_ref(sft).sha256
    before, after = (load_file(job.output_dir / "adapter_model.safetensors") for job in (sft, dpo))
    assert all(tensor.dtype == torch.float32 for tensor in after.values())
    assert any(not torch.equal(before[name], after[name]) for name in before)


@installed
@pytest.mark.parametrize(("quantization", "dtype"), [("4bit", torch.uint8), ("8bit", torch.int8)])
def test_blocks_are_quantised_and_nothing_else(base: BaseModelRef, quantization: str, dtype: torch.dtype) -> None:
    loaded = load_base_model(base, "bf16", quantization)
    dtypes = {name: weight.dtype for name, weight in loaded.named_parameters()}
    block = {name for name in dtypes if name.endswith("_proj.weight")}
    assert block
    assert {dtypes[name] for name in block} == {dtype}
    assert {found for name, found in dtypes.items() if name not in block} == {torch.bfloat16}


@installed
@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
def test_quantised_base_is_trained_after_it_was_evaluated(base: BaseModelRef, quantization: str) -> None:
    spec = SftSpec(max_steps=1, learning_rate=0.1)
    policy = new_adapter(load_base_model(base, "bf16", quantization), spec)
    tokens = torch.ones(1, 8, dtype=torch.long)
    with torch.no_grad():
        policy.eval()(input_ids=tokens)
    with torch.autocast("cpu", torch.bfloat16):
        policy.train()(input_ids=tokens).logits.float().sum().backward()
    assert all(p.grad is not None for p in policy.parameters() if p.requires_grad)


def test_missing_bitsandbytes_is_told_with_the_extra(base: BaseModelRef, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "find_spec", lambda name: None)
    with pytest.raises(QuantizationUnavailable, match=r"quantization: 4bit needs bitsandbytes.*\[gpu\]"):
        load_base_model(base, "bf16", "4bit")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [({"precision": "fp32"}, "set precision: bf16"), ({"backend": "zero3"}, "choose zero2")],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        SftSpec.model_validate({"max_steps": 1, "learning_rate": 0.1, "quantization": "4bit", **settings})
