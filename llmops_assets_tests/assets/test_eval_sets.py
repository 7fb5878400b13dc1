"""A lane with eval sets: training sets are cleaned of them and checked, and an adapter that saw one fails its gate."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from llmops_assets.assets.checks import no_eval_leak_check
from llmops_assets.assets.eval_reports import read_report
from llmops_assets.recipe import load_recipe
from llmops_assets.resources.defaults import artifact_store
from llmops_assets_tests.assets.conftest import OpenLane
from llmops_assets_tests.assets.tiny_lane import NAME


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def with_eval_sets(lane: OpenLane, items: list[dict[str, Any]]) -> None:
    """Give the lane's recipe eval sets with these items, and a file of thumbs."""
    (lane.files.root / "data" / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    recipe = yaml.safe_load(lane.files.recipe_file.read_text())
    recipe["eval_sets"] = {"sources": [{"kind": "files", "name": "own", "pattern": "../../data/items.jsonl"}]}
    lane.files.recipe_file.write_text(yaml.safe_dump(recipe))


@pytest.fixture
def leaking(lane: OpenLane) -> tuple[OpenLane, list[str]]:
    """The built lane, whose adapters have seen two items of eval sets that its recipe has from now on."""
    seen = rows(lane.artifact("sft_set").folder / "train.jsonl")[:2]
    document = max(rows(lane.artifact("corpus").folder / "train.jsonl"), key=lambda row: len(row["text"]))
    items = [{"messages": row["messages"], "id": f"q{number}"} for number, row in enumerate(seen)]
    with_eval_sets(lane, [*items, {"text": document["text"], "id": "d"}, {"question": "Never asked?", "answer": "No."}])
    return lane, [row["id"] for row in seen]


def test_an_adapter_that_has_seen_an_eval_item_fails_whatever_it_scores(leaking: tuple[OpenLane, list[str]]) -> None:
    lane, _ = leaking
    assert lane.run("eval_sets").success
    assert lane.metadata("eval_sets")["dagster/row_count"] == 4
    assert not lane.run("sft_report").success, "the gate's check blocks"
    report = read_report(lane.artifact("sft_report"))
    arm = {arm.name: arm for arm in report.arms}["no_eval_leak"]
    assert (report.verdict.value, arm.verdict.value) == ("FAIL", "FAIL")
    assert "own/" in report.summary and "line " in report.summary
    evidence = report.training_leaks
    assert evidence is not None
    # Two conversations of its own set, and the document that its parent was trained on.
    assert {leak.item for leak in evidence.first} == {"own/q0", "own/q1", "own/d"}
    assert {name.split()[0] for name in evidence.rows} == {"sft_set", "corpus"}
    assert lane.run("champion").success
    assert lane.metadata("champion")["moved"] is False


def test_training_sets_are_cleaned_and_the_adapters_trained_on_them_pass(leaking: tuple[OpenLane, list[str]]) -> None:
    lane, seen = leaking
    result = lane.run("eval_sets", "sft_set")
    assert result.success
    passed = {e.check_name: (e.passed, e.blocking) for e in result.get_asset_check_evaluations()}
    assert passed["no_eval_leak"] == (True, True)
    folder = lane.artifact("sft_set").folder
    assert not {row["id"] for row in rows(folder / "train.jsonl")} & set(seen)
    refused = [row for row in rows(folder / "quarantine.jsonl") if row["reason"] == "contaminated"]
    assert len(refused) == 2 and all("holds eval item own/q" in row["detail"] and row["line"] for row in refused)
    assert lane.artifact("sft_set").manifest.inputs["eval_sets"] == lane.artifact("eval_sets").manifest.data_version


def test_a_set_that_leaks_fails_its_check(leaking: tuple[OpenLane, list[str]]) -> None:
    lane, _ = leaking
    assert lane.run("eval_sets").success
    # The set was built before the lane had eval sets, and the check reads it again.
    check = no_eval_leak_check(load_recipe(lane.files.recipe_file), "sft_set")
    result = check(dg.build_asset_check_context(instance=lane.instance), artifacts=artifact_store())
    assert isinstance(result, dg.AssetCheckResult)
    assert not result.passed and result.metadata["leaking"].value == 2


def test_a_lane_without_eval_sets_is_as_it_was(lane: OpenLane) -> None:
    assert "eval_sets" not in lane.artifact("sft_set").manifest.inputs
    assert read_report(lane.artifact("sft_report")).training_leaks is None
    assert lane.files.recipe_file.stem == NAME
