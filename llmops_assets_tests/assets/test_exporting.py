"""From a version's label to an exported folder, over a real store, a real Dagster instance and the real process."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from llmops_assets.assets.exporting import UnknownExport, export_version
from llmops_assets.assets.lineage import FINGERPRINT, asset_key
from llmops_assets.feedback.store import FeedbackStore
from llmops_assets.recipe import BaseModelSpec, Recipe, load_recipe
from llmops_assets.resources.artifacts import ArtifactStore
from llmops_assets.resources.defaults import artifact_store, feedback_resource
from llmops_assets.resources.export import ExportFailed
from llmops_assets.settings import configs_dir
from llmops_assets.training.export.job import ExportResult
from llmops_assets_tests.training.conftest import make_base
from llmops_assets_tests.training.random_adapters import random_lora

NAME = "python_docs"


@dataclass
class Lane:
    """A lane with two SFT adapters, v1.0 and v2.0, that nobody trained."""

    recipe: Recipe
    instance: dg.DagsterInstance
    artifacts: ArtifactStore
    store: FeedbackStore
    sha256: dict[str, str]
    said: list[str]

    def export(self, version: str | None, out: Path, *, merge: bool = False) -> ExportResult:
        return export_version(
            self.instance,
            self.recipe,
            version,
            artifacts=self.artifacts,
            store=self.store,
            out=out,
            merge=merge,
            precision="bf16",
            served_base=None,
            on_line=self.said.append,
        )


@pytest.fixture
def lane(state_folder: Path, tmp_path: Path) -> Iterator[Lane]:
    base = make_base(tmp_path / "base", seed=1)
    recipe = load_recipe(configs_dir() / "recipes" / f"{NAME}.yaml")
    recipe = recipe.model_copy(update={"base_model": BaseModelSpec(name=base.name)})
    artifacts, key = artifact_store(), asset_key(NAME, "sft_adapter")
    with dg.DagsterInstance.ephemeral() as instance, feedback_resource().open() as store:
        made = Lane(recipe, instance, artifacts, store, {}, [])
        for seed in (1, 2):
            ref = random_lora(tmp_path / f"adapter{seed}", base, seed=seed)
            with artifacts.building(NAME, "sft_adapter", f"{seed}" * 64) as slot:
                shutil.copytree(ref.path, slot.output, dirs_exist_ok=True)
                artifact = artifacts.publish(
                    slot,
                    recipe=NAME,
                    asset="sft_adapter",
                    fingerprint=f"{seed}" * 64,
                    code_version="1",
                    spec={"stage": "sft"},
                    inputs={"base_model": base.digest, "sft_set": "d" * 64},
                    summary={"loss": 1.5},
                    run_card={"parent": None, "mode": "new"},
                )
            label = store.register_version(
                adapter_sha256=ref.sha256,
                deployment=NAME,
                stage="sft",
                parent_sha256=None,
                base_model=base.name,
                asset_key=key.to_user_string(),
                materialization_run=None,
                mlflow_run=None,
            )
            metadata = {"adapter_sha256": ref.sha256, FINGERPRINT: artifact.manifest.fingerprint}
            instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata=metadata))
            made.sha256[label] = ref.sha256
        yield made


def test_version_that_is_not_the_newest_is_found_and_exported(lane: Lane, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = lane.export("v1.0", out)
    assert result.adapter_sha256 == lane.sha256["v1.0"] != lane.sha256["v2.0"]
    assert result.name == f"{NAME} v1.0" and (out / "adapter_model.safetensors").is_file()
    stage = result.chain[0]
    assert (stage.version, stage.inputs["sft_set"], stage.metrics) == ("v1.0", "d" * 64, {"loss": 1.5})
    assert json.loads((out / "manifest.json").read_text())["asset"] == "sft_adapter"
    assert any("adapter in bf16" in line for line in lane.said)


def test_sentence_of_the_process_is_the_error(lane: Lane, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "served").write_text("x")
    with pytest.raises(ExportFailed, match=r"^.*out holds something already, and exports are never overwritten"):
        lane.export("v2.0", out)


def test_unknown_version_and_missing_champion_are_named(lane: Lane, tmp_path: Path) -> None:
    with pytest.raises(UnknownExport, match=r"has no version v3\.0 \(known: v1\.0, v2\.0\)"):
        lane.export("v3.0", tmp_path / "out")
    with pytest.raises(UnknownExport, match="has no champion yet"):
        lane.export(None, tmp_path / "out")
