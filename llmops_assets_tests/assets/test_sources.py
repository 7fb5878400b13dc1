"""Sources as assets: observed before the set that reads them, their facts on record, their licences checked."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from llmops_assets.assets.lineage import asset_key
from llmops_assets.assets.sources import SOURCE_FACTS
from llmops_assets.data.sources.sources_at_hand import SourcesAtHand
from llmops_assets.data.sources.specs import TextFilesSource
from llmops_assets.definitions import lane as lane_definitions
from llmops_assets.recipe import load_recipe
from llmops_assets.resources.defaults import default_resources
from llmops_assets_tests.assets.conftest import OpenLane
from llmops_assets_tests.assets.tiny_lane import NAME, make_tiny_lane
from llmops_assets_tests.data.lakefs_server import ACCESS_KEY, SECRET_KEY, LakeFsServer, running_lakefs

CORPUS, CHATS = asset_key(NAME, "corpus"), dg.AssetKey([NAME, "sft_set_sources", "chats"])
DOCUMENTS = dg.AssetKey([NAME, "corpus_sources", "documents"])


@pytest.fixture
def server() -> Iterator[LakeFsServer]:
    with running_lakefs() as server:
        yield server


@pytest.fixture
def lane(server: LakeFsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenLane]:
    """A lane that has built nothing, with its documents on a branch of LakeFS, and a policy on licences."""
    files = make_tiny_lane(tmp_path / "lane")
    files.take_over(monkeypatch)
    access = {"ENDPOINT": server.endpoint, "ACCESS_KEY": ACCESS_KEY, "SECRET_KEY": SECRET_KEY}
    for name, value in access.items():
        monkeypatch.setenv(f"LAKEFS_{name}", value)
    server.commit("texts", "main", {"a.jsonl": (files.root / "data" / "documents.jsonl").read_bytes()})
    recipe: dict[str, Any] = yaml.safe_load(files.recipe_file.read_text())
    source = {"kind": "files", "name": "documents", "pattern": "lakefs://texts/main/*.jsonl", "license": "cc-by-nc-4.0"}
    recipe["corpus"]["sources"] = [source]
    recipe["licenses"] = {"deny": ["*-NC-*", "unknown"]}
    files.recipe_file.write_text(yaml.safe_dump(recipe))
    with dg.DagsterInstance.get() as instance:
        yield OpenLane(files, instance)


def definitions(lane: OpenLane) -> dg.Definitions:
    of_lane = lane_definitions(load_recipe(lane.files.recipe_file))
    return dg.Definitions.merge(of_lane, dg.Definitions(resources=default_resources()))


def run_job(lane: OpenLane, *keys: dg.AssetKey) -> dg.ExecuteInProcessResult:
    """Run the lane's build job over some of its assets, with their checks."""
    job = definitions(lane).resolve_job_def(f"{NAME}_build")
    return job.execute_in_process(instance=lane.instance, asset_selection=list(keys), raise_on_error=False)


def observed(lane: OpenLane, key: dg.AssetKey) -> tuple[str, dict[str, Any]]:
    """Return data version and metadata of the newest observation of a source."""
    observation = lane.instance.fetch_observations(key, limit=1).records[0].asset_observation
    assert observation is not None
    return str(observation.data_version), {key: entry.value for key, entry in observation.metadata.items()}


def test_a_source_called_like_another_input_of_its_set_keeps_its_hash(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "A."}\n')
    source = TextFilesSource(name="tokenizer", pattern="a.jsonl")
    assert list(SourcesAtHand.look_up([source], tmp_path).inputs) == ["source/tokenizer"]


def test_a_run_of_the_job_observes_a_source_and_reads_it_at_the_same_commit(
    lane: OpenLane, server: LakeFsServer
) -> None:
    commit = server.refs["texts", "main"]
    assert run_job(lane, DOCUMENTS, CORPUS).success
    version, facts = observed(lane, DOCUMENTS)
    assert facts == {
        "source/kind": "files",
        "source/license": "CC-BY-NC-4.0",
        "source/revision": commit,
        "source/files": 1,
        "source/bytes": len(server.commits[commit]["a.jsonl"]),
    }
    manifest = lane.artifact("corpus").manifest
    [recorded] = manifest.summary[SOURCE_FACTS]
    assert (recorded["revision"], recorded["content_hash"]) == (commit, version)
    assert manifest.inputs["source/documents"] == version
    [row] = lane.metadata("corpus")[SOURCE_FACTS].records
    assert (row.data["source"], row.data["license"], row.data["revision"]) == ("documents", "CC-BY-NC-4.0", commit)
    assert row.data["records"] == manifest.summary["counts"]["kept"] > 0
    # The corpus was made from what was observed, and from nothing older.
    event = lane.instance.get_latest_materialization_event(CORPUS)
    assert event is not None and event.asset_materialization is not None
    tags = event.asset_materialization.tags or {}
    assert tags[f"dagster/input_data_version/{NAME}/corpus_sources/documents"] == version


def test_a_branch_that_moves_makes_another_corpus_and_a_commit_elsewhere_does_not(
    lane: OpenLane, server: LakeFsServer
) -> None:
    assert run_job(lane, DOCUMENTS, CORPUS).success
    first = lane.artifact("corpus").manifest
    moved = server.commit("texts", "main", {"elsewhere/b.jsonl": b"{}\n"})
    server.fetched.clear()
    assert run_job(lane, DOCUMENTS, CORPUS).success
    assert lane.metadata("corpus")["reused"] and not server.fetched
    assert lane.artifact("corpus").manifest.fingerprint == first.fingerprint
    assert observed(lane, DOCUMENTS)[1]["source/revision"] == moved
    more = json.dumps({"text": "A new document that says " + " ".join(f"word{n}" for n in range(30))})
    moved = server.commit("texts", "main", {"b.jsonl": more.encode() + b"\n"})
    assert run_job(lane, DOCUMENTS, CORPUS).success
    second = lane.artifact("corpus").manifest
    assert server.fetched == ["b.jsonl"] and second.fingerprint != first.fingerprint
    assert second.summary[SOURCE_FACTS][0]["revision"] == moved
    assert second.summary["counts"]["kept"] == first.summary["counts"]["kept"] + 1


def test_the_graph_shows_a_corpus_out_of_date_once_its_source_is_seen_to_have_moved(
    lane: OpenLane, server: LakeFsServer
) -> None:
    def is_fresh() -> bool:
        graph = definitions(lane).resolve_asset_graph()
        resolver = CachingStaleStatusResolver(lane.instance, graph, LoadingContextForTest(lane.instance))
        return resolver.get_status(CORPUS) == StaleStatus.FRESH

    assert run_job(lane, DOCUMENTS, CORPUS).success and is_fresh()
    server.commit("texts", "main", {"b.jsonl": b'{"text": "One more document, of a few words only."}\n'})
    assert run_job(lane, DOCUMENTS).success and not is_fresh()
    assert run_job(lane, CORPUS).success and is_fresh()


def checked(result: dg.ExecuteInProcessResult, asset: str) -> dg.AssetCheckEvaluation:
    [found] = [
        evaluation
        for evaluation in result.get_asset_check_evaluations()
        if evaluation.asset_key == asset_key(NAME, asset) and evaluation.check_name == "licenses_permitted"
    ]
    return found


def test_a_denied_licence_is_a_warning_that_names_the_source(lane: OpenLane) -> None:
    result = lane.run("corpus", "sft_set")
    assert result.success
    corpus, sft_set = checked(result, "corpus"), checked(result, "sft_set")
    assert (corpus.passed, corpus.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert corpus.metadata["denied"].value == {"corpus/documents": "CC-BY-NC-4.0"}
    assert sft_set.metadata["denied"].value == {"sft_set/chats": "unknown"}


@pytest.mark.slow
def test_an_adapter_is_under_the_licences_of_all_that_its_parents_saw(lane: OpenLane) -> None:
    recipe = yaml.safe_load(lane.files.recipe_file.read_text())
    recipe["sft_set"]["sources"][0]["license"] = "MIT OR Apache-2.0"
    for stage in ("cpt", "sft"):
        recipe[stage] |= {"max_steps": 2, "checkpoint_every": 1}
    lane.files.recipe_file.write_text(yaml.safe_dump(recipe))
    result = lane.run("corpus", "cpt_rows", "cpt_adapter", "sft_set", "sft_rows", "sft_adapter")
    assert result.success
    shown = lane.metadata("sft_adapter")
    assert shown["license"] == "CC-BY-NC-4.0 AND (MIT OR Apache-2.0)"
    assert lane.metadata("cpt_adapter")["license"] == "CC-BY-NC-4.0"
    assert checked(result, "sft_adapter").metadata["denied"].value == {"corpus/documents": "CC-BY-NC-4.0"}
    # A corpus of another licence changes nothing about the adapter that there is.
    recipe["corpus"]["sources"][0]["license"] = "CC0-1.0"
    lane.files.recipe_file.write_text(yaml.safe_dump(recipe))
    assert lane.run("corpus").success
    again = lane.run("sft_adapter")
    assert not checked(again, "sft_adapter").passed


def test_a_source_that_cannot_be_read_fails_its_observation_with_a_sentence(
    lane: OpenLane, server: LakeFsServer
) -> None:
    server.forbids = True
    result = run_job(lane, DOCUMENTS, CORPUS)
    failures = {event.step_key: event for event in result.all_events if event.event_type_value == "STEP_FAILURE"}
    assert list(failures) == [f"{NAME}__corpus_sources__documents"]
    data = failures[f"{NAME}__corpus_sources__documents"].step_failure_data.user_failure_data
    assert data is not None and "may not read repository 'texts'" in (data.description or "")
