"""Pairs of data sets in a lane without a single vote: sealed by prompt, shown by source, prepared as votes are."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from llmops_assets.feedback.records import Battle, Message, Rater, Response
from llmops_assets.resources.defaults import feedback_resource
from llmops_assets_tests.assets.conftest import OpenLane
from llmops_assets_tests.assets.tiny_lane import NAME, make_tiny_lane
from llmops_assets_tests.training.conftest import sentence


@pytest.fixture
def lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenLane]:
    """A lane that has built nothing, with 60 pairs of a file beside its votes, of which there are none."""
    files = make_tiny_lane(tmp_path / "lane")
    files.take_over(monkeypatch)
    pairs = [
        {
            "conversations": [{"from": "human", "value": f"What does thing {index} do?"}],
            "chosen": {"from": "gpt", "value": sentence(index)},
            "rejected": {"from": "gpt", "value": f"It may close every file and queue {index}."},
        }
        for index in range(60)
    ]
    (files.root / "data" / "pairs.json").write_text(json.dumps([*pairs, pairs[0], {"chosen": 1, "rejected": 2}]))
    recipe = yaml.safe_load(files.recipe_file.read_text())
    source = {"kind": "files", "name": "pairs", "pattern": "../../data/pairs.json", "license": "CC0-1.0"}
    recipe["preferences"]["data_sets"] = {"sources": [source], "max_sealed": 5}
    files.recipe_file.write_text(yaml.safe_dump(recipe))
    with dg.DagsterInstance.get() as instance:
        yield OpenLane(files, instance)


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_pairs_of_a_file_become_the_preference_set_and_its_rows(lane: OpenLane) -> None:
    assert lane.run("preference_set", "dpo_rows").success
    folder = lane.artifact("preference_set").folder
    train, heldout = rows(folder / "train.jsonl"), rows(folder / "heldout.jsonl")
    # Two fifths of the prompts are sealed; of these the gate measures on five.
    assert len(heldout) == 5 and 30 <= len(train) <= 45
    assert not {json.dumps(row["prompt"]) for row in train} & {json.dumps(row["prompt"]) for row in heldout}
    assert train[0]["source"] == "pairs" and train[0]["origin"].startswith("../../data/pairs.json:")
    assert [row["reason"] for row in rows(folder / "quarantine.jsonl")] == ["exact_duplicate", "wrong_type"]
    shown = lane.metadata("preference_set")["data_sets"]
    assert shown["pairs"] == {"pairs": 60} and shown["licenses"] == {"pairs": "CC0-1.0"}
    assert lane.metadata("dpo_rows")["dagster/row_count"] == len(train)


def test_people_have_the_last_word_on_answers_that_a_data_set_compares(lane: OpenLane) -> None:
    assert lane.run("preference_set").success
    first = lane.artifact("preference_set").manifest.fingerprint
    with feedback_resource().open() as store:
        store.register_version(
            adapter_sha256="a" * 64,
            deployment=NAME,
            stage="sft",
            parent_sha256=None,
            base_model="base",
            asset_key=f"{NAME}/sft_adapter",
            materialization_run=None,
            mlflow_run=None,
        )
        for index in range(5):
            answers = (sentence(index), f"It may close every file and queue {index}.")
            battle = Battle(
                deployment=NAME,
                prompt=[Message(role="user", content=f"What does thing {index} do?")],
                left=Response(text=answers[0], version="a" * 64),
                right=Response(text=answers[1], version="a" * 64),
                seed=index,
            )
            store.record_vote(store.record_battle(battle), Rater(subject="ada", kind="human"), "right")
    assert lane.run("preference_set").success
    artifact = lane.artifact("preference_set")
    assert artifact.manifest.fingerprint != first
    assert artifact.manifest.summary["data_sets"]["quarantined"]["voted_on"] == 5
    pairs = rows(artifact.folder / "train.jsonl") + rows(artifact.folder / "heldout.jsonl")
    voted = [row for row in pairs if row["prompt"][0]["content"] == "What does thing 0 do?"]
    assert len(voted) <= 1, "one pair about two answers, and that is the vote"


def test_another_file_or_setting_makes_another_set(lane: OpenLane) -> None:
    assert lane.run("preference_set").success
    first = lane.artifact("preference_set").manifest.fingerprint
    assert lane.run("preference_set").success
    assert lane.metadata("preference_set")["reused"] is True
    file = lane.files.recipe_file
    file.write_text(file.read_text().replace("max_sealed: 5", "max_sealed: 6"))
    assert lane.run("preference_set").success
    second = lane.artifact("preference_set").manifest.fingerprint
    data = lane.files.root / "data" / "pairs.json"
    data.write_text(data.read_text().replace("thing 1 ", "thing one "))
    assert lane.run("preference_set").success
    assert len({first, second, lane.artifact("preference_set").manifest.fingerprint}) == 3


def test_pairs_about_an_eval_item_are_sealed_or_left_out(lane: OpenLane) -> None:
    asked = [{"question": f"What does thing {index} do?", "answer": sentence(index)} for index in range(20)]
    (lane.files.root / "data" / "evals.json").write_text(json.dumps(asked))
    recipe = yaml.safe_load(lane.files.recipe_file.read_text())
    recipe["eval_sets"] = {"sources": [{"kind": "files", "name": "own", "pattern": "../../data/evals.json"}]}
    lane.files.recipe_file.write_text(yaml.safe_dump(recipe))
    result = lane.run("eval_sets", "preference_set")
    assert result.success
    assert {check.check_name: check.passed for check in result.get_asset_check_evaluations()}["no_eval_leak"]
    artifact = lane.artifact("preference_set")
    train = {row["prompt"][0]["content"] for row in rows(artifact.folder / "train.jsonl")}
    assert not train & {item["question"] for item in asked} and len(train) > 15
    left_out = artifact.manifest.summary["data_sets"]["quarantined"]["contaminated"]
    assert left_out == artifact.manifest.summary["quarantined"]["contaminated"] > 5
    assert artifact.manifest.summary["data_sets"]["train"] == len(train)
    assert artifact.manifest.summary["data_sets"]["pairs"] == {"pairs": 60 - left_out}
    refused = [row for row in rows(artifact.folder / "quarantine.jsonl") if row["reason"] == "contaminated"]
    assert len(refused) == left_out and all("holds eval item own/" in row["detail"] for row in refused)
