"""Models with adapters in their weights, and the check that they are what they were made of."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from llmops_assets.training.adapter_files import WrongBase
from llmops_assets.training.export.merge import QuantizedBase
from llmops_assets.training.export.parity import ParityFailed
from llmops_assets.training.export.run import export
from llmops_assets.training.job import AdapterRef, BaseModelRef
from llmops_assets_tests.training.conftest import make_base
from llmops_assets_tests.training.random_adapters import logits, plain_model, random_lora, random_whole_model

from .conftest import MakeExport


def test_merged_stack_in_float32_computes_what_peft_computes(
    make_export: MakeExport, lora: AdapterRef, over_lora: AdapterRef, base: BaseModelRef, tmp_path: Path
) -> None:
    result = export(make_export(over_lora, tmp_path / "out", merge=True, precision="fp32"))
    below = PeftModel.from_pretrained(plain_model(base), str(lora.path)).merge_and_unload()
    beside = PeftModel.from_pretrained(below, str(over_lora.path))
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    torch.testing.assert_close(logits(merged), logits(beside), rtol=0, atol=1e-5)
    assert result.parity is not None and result.parity.adapter_kl is not None
    assert result.parity.top1_agreement == 1 and result.parity.mean_kl < 1e-9 < result.parity.adapter_kl
    assert (result.kind, result.merged) == ("merged", (lora.sha256,))


def test_merged_model_in_bfloat16_is_whole_and_states_its_parity(
    make_export: MakeExport, lora: AdapterRef, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(make_export(lora, out, merge=True))
    names = {path.name for path in out.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md"} < names
    assert not [name for name in names if "adapter" in name or name.endswith((".bin", ".pt"))]
    assert {tensor.dtype for tensor in load_file(out / "model.safetensors").values()} == {torch.bfloat16}
    parity = json.loads((out / "export.json").read_text())["parity"]
    assert parity["prompts"] == 12 and 0 < parity["mean_kl"] < 0.1 * parity["adapter_kl"]
    assert "mean kl" in (out / "README.md").read_text()


def test_equal_merges_write_equal_bytes(make_export: MakeExport, lora: AdapterRef, tmp_path: Path) -> None:
    first, second = (export(make_export(lora, tmp_path / name, merge=True)) for name in ("one", "two"))
    assert first == second


def test_faint_adapter_that_bfloat16_would_round_away_is_refused(
    make_export: MakeExport, base: BaseModelRef, tmp_path: Path
) -> None:
    faint = random_lora(tmp_path / "faint", base, seed=5, lora_alpha=0.02)
    with pytest.raises(ParityFailed, match=r"that the adapter makes .*Nothing was kept; export with --precision fp32"):
        export(make_export(faint, tmp_path / "out", merge=True))
    assert [path.name for path in tmp_path.iterdir()] == ["faint"]
    export(make_export(faint, tmp_path / "out", merge=True, precision="fp32"))


def test_whole_model_is_exported_as_it_is(make_export: MakeExport, base: BaseModelRef, tmp_path: Path) -> None:
    whole = random_whole_model(tmp_path / "whole", base, seed=6)
    result = export(make_export(whole, tmp_path / "exact", precision="fp32"))
    trained, exact = load_file(whole.path / "model.safetensors"), load_file(tmp_path / "exact" / "model.safetensors")
    assert all(torch.equal(exact[name], tensor) for name, tensor in trained.items()) and exact.keys() == trained.keys()
    assert result.kind == "full" and result.parity is not None and result.parity.max_logit_difference == 0
    export(make_export(whole, tmp_path / "cast"))
    cast = load_file(tmp_path / "cast" / "model.safetensors")
    assert all(torch.equal(cast[name], tensor.bfloat16()) for name, tensor in trained.items())


def test_quantised_base_is_refused(
    lora: AdapterRef, base: BaseModelRef, make_export: MakeExport, tmp_path: Path
) -> None:
    folder = tmp_path / "quantised"
    shutil.copytree(base.name, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
    quantised = BaseModelRef(name=str(folder), digest=base.digest)
    with pytest.raises(QuantizedBase, match="unquantised repository"):
        export(make_export(lora, tmp_path / "out", merge=True, base_model=quantised))


def test_adapter_of_another_base_is_refused(make_export: MakeExport, lora: AdapterRef, tmp_path: Path) -> None:
    other = make_base(tmp_path / "other", seed=9)
    with pytest.raises(WrongBase, match="was trained on base"):
        export(make_export(lora, tmp_path / "out", merge=True, base_model=other))
    assert not (tmp_path / "out").exists()
