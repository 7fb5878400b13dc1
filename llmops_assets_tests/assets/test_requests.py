"""What an adapter and a reference are asked for by: the settings of files beside the recipe, and the rows there are."""

from pathlib import Path
from typing import Any

import pytest

from llmops_assets.assets.adapter_training import engine_inputs
from llmops_assets.assets.adapters import RowsNotPacked, on_rows
from llmops_assets.assets.reference_log_probs import reference_request
from llmops_assets.recipe import load_recipe
from llmops_assets.resources.artifacts import Artifact
from llmops_assets.resources.manifest import FileEntry, Manifest
from llmops_assets.settings import configs_dir
from llmops_assets.training.digests import file_sha256
from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.preparation.job import PreparationSpec
from llmops_assets.training.reference.job import ReferenceSpec
from llmops_assets.training.specs import CptSpec, DpoSpec, KdSpec, SftSpec

STEPS = {"max_steps": 1, "learning_rate": 0.001}


def made(asset: str, spec: dict[str, Any], **files: str) -> Artifact:
    manifest = Manifest(
        recipe="tiny",
        asset=asset,
        fingerprint="f" * 64,
        code_version="1",
        spec=spec,
        inputs={},
        files={name.replace("_safe", ".safe"): FileEntry(sha256=digest, bytes=1) for name, digest in files.items()},
        data_version="v1",
        created_at="2026-01-01T00:00:00+00:00",
        summary={},
    )
    return Artifact(manifest, Path("unused"), "unused")


def rows_of(stage: SftSpec | KdSpec | CptSpec) -> Artifact:
    return made(f"{stage.stage}_rows", PreparationSpec.of(stage).model_dump())


@pytest.mark.parametrize("backend", ["zero1", "zero2", "zero3"])
def test_edited_deepspeed_file_asks_for_another_adapter(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMOPS_CONFIGS_DIR", str(tmp_path))
    file = tmp_path / "deepspeed" / f"{backend}.json"
    file.parent.mkdir()
    file.write_text('{"zero_optimization": {"stage": 2}}')
    spec = SftSpec.model_validate(STEPS | {"backend": backend})
    before = engine_inputs(spec)
    assert before == {"deepspeed_config": file_sha256(file)}
    file.write_text('{"zero_optimization": {"stage": 2, "reduce_bucket_size": 1000}}')
    assert engine_inputs(spec) != before


@pytest.mark.parametrize("backend", ["plain", "ddp"])
def test_backends_without_deepspeed_do_not_read_its_files(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMOPS_CONFIGS_DIR", str(tmp_path))
    assert engine_inputs(SftSpec.model_validate(STEPS | {"backend": backend})) == {}


@pytest.mark.parametrize("stage", [SftSpec, KdSpec])
def test_single_rows_are_not_trained_on_as_packed_ones(stage: type[SftSpec] | type[KdSpec]) -> None:
    packed = stage.model_validate(STEPS | {"batching": "packed"})
    padded = stage.model_validate(STEPS)
    with pytest.raises(RowsNotPacked, match=rf"materialize {packed.stage}_rows again, or choose padding_free"):
        on_rows(packed, rows_of(padded))
    assert on_rows(packed, rows_of(packed)) == packed
    assert on_rows(padded, rows_of(packed)) == packed, "the rows decide, and the run card says so"
    free = stage.model_validate(STEPS | {"batching": "padding_free"})
    assert on_rows(free, rows_of(padded)) == free


def test_rows_of_documents_are_packed_without_being_asked() -> None:
    spec = CptSpec.model_validate(STEPS)
    assert on_rows(spec, rows_of(spec)) == spec


@pytest.mark.parametrize(("device", "taken_on"), [("cpu", "cpu"), ("gpu", "auto"), ("auto", "auto")])
def test_reference_follows_the_device_of_its_stage_and_is_the_same_one(device: str, taken_on: str) -> None:
    recipe = load_recipe(configs_dir() / "recipes" / "python_docs.yaml")

    def request(stage: DpoSpec):
        return reference_request(
            recipe,
            ReferenceSpec.of(stage),
            BaseModelRef(name="base", digest="b" * 64),
            made("dpo_rows", {}),
            made("sft_adapter", {}, adapter_model_safetensors="a" * 64),
        )

    stage = DpoSpec.model_validate(STEPS | {"device": device})
    assert ReferenceSpec.of(stage).device == taken_on
    assert request(stage).fingerprint == request(DpoSpec.model_validate(STEPS)).fingerprint
    assert request(stage).fingerprint != request(stage.model_copy(update={"precision": "fp32"})).fingerprint
