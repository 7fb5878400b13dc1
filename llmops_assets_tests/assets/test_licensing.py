"""Licences behind an adapter are those of the very sets that it and its parents have seen."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from llmops_assets.assets.licensing import license_metadata, licenses_behind
from llmops_assets.assets.lineage import FINGERPRINT, asset_key
from llmops_assets.resources.artifacts import Artifact, ArtifactStore


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(root=str(tmp_path / "artifacts"), staging=str(tmp_path / "staging"))


def publish(store: ArtifactStore, asset: str, fingerprint: str, **facts: Any) -> Artifact:
    with store.building("lane", asset, fingerprint) as slot:
        (slot.output / "train.jsonl").write_text(f"{asset} {fingerprint}")
        known = {"code_version": "1", "spec": {}, "inputs": {}, "summary": {}}
        return store.publish(slot, recipe="lane", asset=asset, fingerprint=fingerprint, **known | facts)


def materialize(instance: dg.DagsterInstance, artifact: Artifact) -> None:
    manifest = artifact.manifest
    event = dg.AssetMaterialization(
        asset_key("lane", manifest.asset),
        metadata={FINGERPRINT: manifest.fingerprint},
        tags={DATA_VERSION_TAG: manifest.data_version},
    )
    instance.report_runless_asset_event(event)


def test_a_set_that_no_materialization_names_is_found_in_the_store(store: ArtifactStore) -> None:
    seen = publish(store, "corpus", "1" * 64, summary={"licenses": {"web": "CC-BY-NC-4.0"}})
    adapter = publish(store, "cpt_adapter", "4" * 64, inputs={"corpus": seen.manifest.data_version})
    with dg.DagsterInstance.ephemeral() as instance:
        assert licenses_behind(instance, store, [adapter.manifest]) == {"corpus/web": "CC-BY-NC-4.0"}


def test_the_sets_that_an_adapter_saw_count_and_not_today_s(store: ArtifactStore) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        seen = publish(store, "corpus", "1" * 64, summary={"licenses": {"web": "CC-BY-NC-4.0"}})
        today = publish(store, "corpus", "2" * 64, summary={"licenses": {"web": "CC0-1.0"}})
        pairs = {"data_sets": {"licenses": {"own": "MIT OR Apache-2.0"}}}
        preferences = publish(store, "preference_set", "3" * 64, summary=pairs)
        for made in (seen, today, preferences):
            materialize(instance, made)
        parent = publish(store, "cpt_adapter", "4" * 64, inputs={"corpus": seen.manifest.data_version})
        retrained = publish(store, "cpt_adapter", "6" * 64, inputs={"corpus": today.manifest.data_version})
        inputs = {"preference_set": preferences.manifest.data_version, "sft_set": "f" * 64}
        card = {"parent": {"asset": "cpt_adapter", "fingerprint": parent.manifest.fingerprint}}
        adapter = publish(store, "dpo_adapter", "5" * 64, inputs=inputs, run_card=card)
        found = licenses_behind(instance, store, [adapter.manifest])
        again = licenses_behind(instance, store, [adapter.manifest, retrained.manifest])
    assert found == {
        "corpus/web": "CC-BY-NC-4.0",
        "preference_set/own": "MIT OR Apache-2.0",
        # Neither a materialization nor the store has that version.
        "sft_set@ffffffffffff": "unknown",
    }
    # A source that was under two licences is under both.
    assert again["corpus/web"] == "CC-BY-NC-4.0 AND CC0-1.0"
    shown = license_metadata(found)
    assert shown["license"].value == "CC-BY-NC-4.0 AND (MIT OR Apache-2.0) AND unknown"


def test_answers_of_a_teacher_are_under_the_licences_of_the_questions(store: ArtifactStore) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        questions = publish(store, "sft_set", "1" * 64, summary={"licenses": {"own": "MIT"}})
        answers = publish(store, "teacher_answers", "2" * 64, inputs={"sft_set": questions.manifest.data_version})
        for made in (questions, answers):
            materialize(instance, made)
        student = publish(store, "kd_adapter", "3" * 64, inputs={"teacher_answers": answers.manifest.data_version})
        assert licenses_behind(instance, store, [student.manifest]) == {"sft_set/own": "MIT"}
    assert license_metadata({}) == {}
