"""The folder that an adapter is served from."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from llmops_assets.training.digests import file_sha256
from llmops_assets.training.export.publish import NotServable
from llmops_assets.training.export.run import NothingToMerge, export
from llmops_assets.training.job import AdapterRef, BaseModelRef
from llmops_assets_tests.training.random_adapters import logits, plain_model, random_lora, random_whole_model

from .conftest import MakeExport

WEIGHTS = "adapter_model.safetensors"


def _copy(ref: AdapterRef, folder: Path, **renamed: str) -> AdapterRef:
    """A copy of an adapter in which parts of the names of its tensors are replaced."""
    shutil.copytree(ref.path, folder)
    tensors = load_file(folder / WEIGHTS)
    for old, new in renamed.items():
        tensors = {name.replace(f"{old}.weight", new): tensor for name, tensor in tensors.items()}
    save_file(tensors, folder / WEIGHTS)
    return ref.model_copy(update={"path": folder, "sha256": file_sha256(folder / WEIGHTS)})


def test_folder_holds_served_weights_masters_tokenizer_and_facts(
    make_export: MakeExport, lora: AdapterRef, tmp_path: Path
) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text('{"asset": "sft_adapter"}')
    out = tmp_path / "out"
    result = export(make_export(lora, out, manifest=manifest))
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    weights = {"adapter_config.json", WEIGHTS, "masters/adapter_config.json", f"masters/{WEIGHTS}"}
    tokenizer = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert files == weights | tokenizer | {"manifest.json", "README.md", "export.json"}
    assert result.files == {name: file_sha256(out / name) for name in files - {"export.json"}}
    assert (result.kind, result.max_lora_rank, result.parity) == ("adapter", 8, None)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_served_weights_are_the_masters_rounded_to_bfloat16(
    make_export: MakeExport, lora: AdapterRef, base: BaseModelRef, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(make_export(lora, out))
    served, masters, trained = (load_file(folder / WEIGHTS) for folder in (out, out / "masters", lora.path))
    assert all(torch.equal(masters[name], trained[name]) for name in trained)
    assert all(torch.equal(served[name], trained[name].bfloat16()) for name in trained)
    with_masters = PeftModel.from_pretrained(plain_model(base), str(out / "masters"))
    with_trained = PeftModel.from_pretrained(plain_model(base), str(lora.path))
    assert torch.equal(logits(with_masters), logits(with_trained))
    assert AutoTokenizer.from_pretrained(out).chat_template == AutoTokenizer.from_pretrained(base.name).chat_template


def test_card_and_config_state_facts_and_no_path_of_this_machine(
    make_export: MakeExport, lora: AdapterRef, base: BaseModelRef, tmp_path: Path
) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"run_card": {"base_model": {"name": base.name}}}))
    out = tmp_path / "out"
    export(make_export(lora, out, manifest=manifest, served_base="org/Model-1B"))
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "org/Model-1B" and config["revision"] is None
    card = (out / "README.md").read_text()
    for fact in (lora.sha256, base.digest, "d" * 64, "1.25", "org/Model-1B", "sft", "v1.0", "licence"):
        assert fact in card, fact
    for file in (path for path in out.rglob("*") if path.is_file()):
        assert str(Path(base.name).parent).encode() not in file.read_bytes(), file


def test_equal_jobs_write_equal_bytes(make_export: MakeExport, lora: AdapterRef, tmp_path: Path) -> None:
    first, second = (export(make_export(lora, tmp_path / name)) for name in ("one", "two"))
    assert first == second
    assert (tmp_path / "one" / "export.json").read_bytes() == (tmp_path / "two" / "export.json").read_bytes()


def test_reference_adapter_of_zero3_stays_behind(make_export: MakeExport, lora: AdapterRef, tmp_path: Path) -> None:
    ref = _copy(lora, tmp_path / "zero3")
    (ref.path / "ref").mkdir()
    shutil.copy(ref.path / WEIGHTS, ref.path / "ref" / WEIGHTS)
    export(make_export(ref, tmp_path / "out"))
    assert not (tmp_path / "out" / "ref").exists()


def test_name_of_a_loaded_adapter_is_taken_out_of_the_keys(
    make_export: MakeExport, lora: AdapterRef, tmp_path: Path
) -> None:
    ref = _copy(lora, tmp_path / "loaded", lora_A="lora_A.default.weight", lora_B="lora_B.default.weight")
    assert all(".default." in name for name in load_file(ref.path / WEIGHTS))
    export(make_export(ref, tmp_path / "out"))
    assert set(load_file(tmp_path / "out" / WEIGHTS)) == set(load_file(lora.path / WEIGHTS))


def test_keys_of_a_second_adapter_are_refused(make_export: MakeExport, lora: AdapterRef, tmp_path: Path) -> None:
    ref = _copy(lora, tmp_path / "second", lora_A="lora_A.ref.weight")
    with pytest.raises(NotServable, match="second adapter"):
        export(make_export(ref, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_adapter_over_merged_ones_needs_their_base(
    make_export: MakeExport, over_lora: AdapterRef, tmp_path: Path
) -> None:
    with pytest.raises(NotServable, match="wrong beside the plain base: export with --merge"):
        export(make_export(over_lora, tmp_path / "out"))
    export(make_export(over_lora, tmp_path / "out", served_base="org/merged"))
    assert (tmp_path / "out" / WEIGHTS).is_file()


def test_dora_is_refused_with_the_reason(make_export: MakeExport, base: BaseModelRef, tmp_path: Path) -> None:
    ref = random_lora(tmp_path / "dora", base, seed=3, use_dora=True)
    with pytest.raises(NotServable):
        export(make_export(ref, tmp_path / "out"))


def test_whole_model_has_nothing_to_merge(make_export: MakeExport, base: BaseModelRef, tmp_path: Path) -> None:
    whole = random_whole_model(tmp_path / "whole", base, seed=4)
    with pytest.raises(NothingToMerge, match="leave out --merge"):
        export(make_export(whole, tmp_path / "out", merge=True))
