"""The report in its lane: it is made behind the set, shows what it found, and stops DPO rows where a limit blocks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import pytest
import yaml

from llmops_assets.feedback.records import Battle, Message, Rater, Response, Verdict
from llmops_assets.feedback.store import FeedbackStore
from llmops_assets.resources.defaults import feedback_resource
from llmops_assets_tests.assets.conftest import OpenLane
from llmops_assets_tests.assets.tiny_lane import NAME, make_tiny_lane
from llmops_assets_tests.training.conftest import sentence

SFT = "a" * 64
PEOPLE = [Rater(subject=name, kind="human") for name in ("ann", "bob", "cid")]
SPELLINGS = (str.upper, str.lower, lambda text: f" {text.replace(' ', '  ')} ")


class Planted(NamedTuple):
    """A vote on the battle of a number, whose left answer is `left`."""

    number: int
    rater: Rater
    verdict: Verdict
    left: str


@pytest.fixture
def lane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenLane]:
    """A lane that has built nothing, with 60 scored pairs of a file beside its votes."""
    files = make_tiny_lane(tmp_path / "lane")
    files.take_over(monkeypatch)
    pairs = [
        {
            "prompt": SPELLINGS[index % 3](f"What does thing {index} do?"),
            "chosen": f"{sentence(index)} It is a longer answer by far.",
            "rejected": f"No {index}.",
            "score_chosen": 8,
            "score_rejected": 5 - index % 2,
        }
        for index in range(60)
    ]
    (files.root / "data" / "pairs.json").write_text(json.dumps(pairs))
    with dg.DagsterInstance.get() as instance:
        yield OpenLane(files, instance)


def change_preferences(lane: OpenLane, **settings: object) -> None:
    recipe = yaml.safe_load(lane.files.recipe_file.read_text())
    recipe["preferences"] |= settings
    lane.files.recipe_file.write_text(yaml.safe_dump(recipe))


def add_data_set(lane: OpenLane) -> None:
    source = {"kind": "files", "name": "scored", "pattern": "../../data/pairs.json", "license": "CC0-1.0"}
    change_preferences(lane, data_sets={"sources": [source], "max_sealed": 100})


def record(store: FeedbackStore, votes: list[Planted]) -> None:
    store.register_version(
        adapter_sha256=SFT,
        deployment=NAME,
        stage="sft",
        parent_sha256=None,
        base_model="base",
        asset_key=f"{NAME}/sft_adapter",
        materialization_run=None,
        mlflow_run=None,
    )
    for rater in PEOPLE:
        own = [vote for vote in votes if vote.rater is rater]
        store.record_judged_battles([(f"battle-{v.number}", battle(v.number, v.left), v.verdict) for v in own], rater)


def battle(number: int, left: str) -> Battle:
    return Battle(
        deployment=NAME,
        prompt=[Message(role="user", content=f"What does thing {number} do?")],
        left=Response(text=left, version=SFT),
        right=Response(text=f"It may close every file and queue {number}.", version=SFT),
        seed=number,
    )


def fair(count: int, *, start: int = 0) -> list[Planted]:
    sides: tuple[Verdict, Verdict] = ("left", "right")
    return [Planted(n, PEOPLE[n % 3], sides[n // 3 % 2], sentence(n)) for n in range(start, start + count)]


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_report_shows_votes_data_sets_domain_and_pictures(lane: OpenLane) -> None:
    add_data_set(lane)
    odd: list[Planted] = [
        Planted(500, PEOPLE[0], "tie", "A tie."),
        Planted(501, PEOPLE[0], "left", "I am ChatGPT."),
        Planted(502, PEOPLE[1], "left", "A draw."),
        Planted(502, PEOPLE[2], "right", "A draw."),
    ]
    with feedback_resource().open() as store:
        record(store, [*fair(40, start=30), *odd])
    assert lane.run("sft_set", "preference_set", "preference_report").success
    folder = lane.artifact("preference_set").folder
    left_out = [row for row in rows(folder / "quarantine.jsonl") if row["source"] == "votes"]
    assert sorted(row["reason"] for row in left_out) == ["conflicting", "conflicting", "identity_leak", "tie"]
    assert all(set(row) == {"source", "vote_id", "battle_id", "seq", "reason", "detail"} for row in left_out)

    report = lane.artifact("preference_report").folder
    assert {file.name for file in report.iterdir()} >= {"verdicts.png", "biases.png", "raters.png", "lengths.png"}
    found = json.loads((report / "report.json").read_text())
    figures, outcomes = found["figures"], {finding["rule"]: finding["verdict"] for finding in found["findings"]}
    assert (figures["pairs"], figures["left_out"]) == (40, {"conflicting": 2, "identity_leak": 1, "tie": 1})
    [scored] = figures["data_sets"]
    assert (scored["layouts"], scored["read"], scored["margins"]["median"]) == ({"prompt": 60}, 60, 3.5)
    assert scored["pairs"] + scored["sealed"] == 60 and 15 <= scored["sealed"] <= 35
    assert outcomes["data_set_length_bias"] == "FAIL" and outcomes["rater_share"] == "PASS"
    assert figures["prompts"]["domain"]["sources"].keys() == {"chats"}
    shown = lane.metadata("preference_report")
    assert "data:image/png;base64," in str(shown["plot/biases"])
    assert shown["quality/pairs_from_votes"] == 40


def test_a_sealed_prompt_reaches_train_neither_from_votes_nor_from_data_sets_in_any_spelling(lane: OpenLane) -> None:
    add_data_set(lane)
    with feedback_resource().open() as store:
        record(store, fair(60))
    assert lane.run("preference_set").success
    folder = lane.artifact("preference_set").folder
    train, sealed = (rows(folder / f"{split}.jsonl") for split in ("train", "heldout"))
    numbers = [{row["prompt"][-1]["content"].split()[3] for row in split} for split in (train, sealed)]
    assert len(numbers[0]) + len(numbers[1]) == 60
    assert not numbers[0] & numbers[1]
    for split in (train, sealed):
        assert {"source" in row for row in split} == {True, False}, "pairs of votes and of data sets"


def test_a_limit_that_blocks_stops_dpo_rows_after_the_report_is_made(lane: OpenLane) -> None:
    with feedback_resource().open() as store:
        record(store, [vote._replace(rater=PEOPLE[0]) for vote in fair(30)] + fair(6, start=100))
    change_preferences(lane, quality={"blocking": ["rater_share"]})
    result = lane.run("preference_set", "preference_report", "dpo_rows")
    assert not result.success
    assert lane.metadata("preference_report")["summary"].endswith("rater_share stops DPO.")
    assert lane.metadata("dpo_rows") == {}

    change_preferences(lane, quality={"blocking": []})
    assert lane.run("preference_set", "preference_report", "dpo_rows").success, "the same finding, now a warning"
    assert lane.metadata("preference_set")["reused"] is True

    change_preferences(lane, max_share_per_rater=0.5, quality={"blocking": ["rater_share"], "max_rater_share": 0.5})
    assert lane.run("preference_set", "preference_report").success, "the surplus has left the set"
    assert lane.artifact("preference_set").manifest.summary["votes_left_out"]["rater_over_share"] > 0


def test_a_vote_that_becomes_no_pair_changes_the_report_and_not_the_rows(lane: OpenLane) -> None:
    with feedback_resource().open() as store:
        record(store, fair(30))
        assert lane.run("preference_set", "preference_report", "dpo_rows").success
        before = lane.artifact("preference_report").manifest.fingerprint
        record(store, [Planted(200, PEOPLE[0], "tie", "A tie.")])
    assert lane.run("preference_set", "preference_report", "dpo_rows").success
    assert lane.metadata("preference_set")["reused"] is False
    assert lane.artifact("preference_report").manifest.fingerprint != before
    assert lane.metadata("dpo_rows")["reused"] is True, "the same pairs, so nothing is trained again"
