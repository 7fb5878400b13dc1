"""Contamination by lineage: the sets behind an adapter and its ancestors, found by what their manifests say."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmops_assets.assets.eval_leaks import missing_sets_input, trained_on, training_leaks
from llmops_assets.resources.artifacts import Artifact, ArtifactStore

ITEM = {
    "id": "own/1",
    "prompt": "",
    "answers": ["Words of an item."],
    "layout": "text",
    "source": "own",
    "origin": "a:1",
}


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(root=str(tmp_path / "artifacts"), staging=str(tmp_path / "staging"))


def publish(
    store: ArtifactStore, asset: str, rows: list[dict[str, Any]], parent: Artifact | None = None, **inputs: str
) -> Artifact:
    """Publish an artifact with these rows in train.jsonl (items.jsonl of eval sets)."""
    fingerprint = (asset + "".join(inputs.values()) + str(rows)).encode().hex().ljust(64, "0")[-64:]
    with store.building("lane", asset, fingerprint) as slot:
        name = "items.jsonl" if asset == "eval_sets" else "train.jsonl"
        (slot.output / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        card = None if parent is None else {"asset": parent.manifest.asset, "fingerprint": parent.manifest.fingerprint}
        about: dict[str, Any] = {"recipe": "lane", "asset": asset, "fingerprint": fingerprint, "code_version": "1"}
        return store.publish(slot, **about, spec={}, inputs=inputs, summary={}, run_card={"parent": card})


def chain(store: ArtifactStore, corpus: list[dict[str, Any]], pairs: list[dict[str, Any]]) -> Artifact:
    """Publish a corpus, pairs, and a DPO adapter that continues the CPT adapter."""
    documents, preferences = publish(store, "corpus", corpus), publish(store, "preference_set", pairs)
    cpt = publish(store, "cpt_adapter", [], corpus=documents.manifest.data_version)
    version = preferences.manifest.data_version
    return publish(store, "dpo_adapter", [], cpt, preference_set=version, base_model="b", dpo_rows="r")


def test_a_leak_in_the_set_of_an_ancestor_is_found(store: ArtifactStore) -> None:
    pairs = [{"prompt": [{"content": "Why?"}], "chosen": "So.", "rejected": "No."}]
    candidate = chain(store, [{"text": "Other."}, {"text": "Before.\nWords of an item\nAfter."}], pairs)
    assert [name for name, _ in trained_on(store, candidate)] == ["preference_set", "corpus"]
    evidence = training_leaks(store, candidate, publish(store, "eval_sets", [ITEM]))
    assert (evidence.leaking_rows, evidence.missing) == (1, [])
    [leak] = evidence.first
    assert (leak.training_set.split()[0], leak.line, leak.item) == ("corpus", 2, "own/1")
    assert sorted(evidence.rows.values()) == [1, 2]


def test_an_older_version_of_a_set_is_the_one_that_counts(store: ArtifactStore) -> None:
    candidate = chain(store, [{"text": "Words of an item."}], [])
    publish(store, "corpus", [{"text": "Clean by now."}])
    assert training_leaks(store, candidate, publish(store, "eval_sets", [ITEM])).leaking_rows == 1


def test_a_set_that_is_gone_is_named(store: ArtifactStore) -> None:
    cpt = publish(store, "cpt_adapter", [], corpus="f" * 64)
    items = publish(store, "eval_sets", [ITEM])
    assert missing_sets_input(store, cpt, items) == {f"missing/corpus/{'f' * 64}": "f" * 64}
    assert missing_sets_input(store, cpt, None) == missing_sets_input(store, chain(store, [], []), items) == {}
    evidence = training_leaks(store, cpt, items)
    assert (evidence.rows, evidence.missing, evidence.leaking_rows) == ({}, ["corpus ffffffffffff"], 0)
