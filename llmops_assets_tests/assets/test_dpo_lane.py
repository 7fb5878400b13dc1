"""From votes to a DPO adapter in the tiny lane: what is trained on, what counts as used, and that it happens once."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from llmops_assets.assets.preference_sets import THROUGH_TAG
from llmops_assets.automation.dpo_trigger import Skip, StartRun, TriggerPolicy, decide_dpo_run
from llmops_assets.automation.trigger_state import read_trigger_state
from llmops_assets.feedback.records import Battle, Message, Rater, Response
from llmops_assets.feedback.store import FeedbackStore
from llmops_assets.recipe import load_recipe
from llmops_assets.resources.defaults import feedback_resource
from llmops_assets_tests.assets.conftest import OpenLane
from llmops_assets_tests.assets.tiny_lane import NAME
from llmops_assets_tests.training.conftest import sentence

TRAINING = ("preference_set", "dpo_rows", "reference_log_probs", "dpo_adapter")
DPO = (*TRAINING, "dpo_report", "champion")
POLICY = TriggerPolicy(minimum=10, cooldown=timedelta(0), max_attempts=2)


@pytest.fixture
def store(lane: OpenLane) -> Iterator[FeedbackStore]:
    with feedback_resource().open() as store:
        yield store


def vote(lane: OpenLane, store: FeedbackStore, first: int, count: int, *, kind: str = "human") -> None:
    """Record `count` votes that prefer the documented sentence over one about files."""
    sha = lane.metadata("sft_adapter")["adapter_sha256"]
    rater = Rater.model_validate({"subject": f"{kind}-rater", "kind": kind})
    for index in range(first, first + count):
        battle = Battle(
            deployment=NAME,
            prompt=[Message(role="user", content=f"What does thing {index} do?")],
            left=Response(text=sentence(index), version=sha),
            right=Response(text=f"It may close every file and queue {index}.", version=sha),
            seed=index,
        )
        store.record_vote(store.record_battle(battle), rater, "left")


def decide(lane: OpenLane, store: FeedbackStore) -> StartRun | Skip:
    recipe = load_recipe(lane.files.recipe_file)
    return decide_dpo_run(read_trigger_state(lane.instance, store, recipe), POLICY, now=datetime.now(UTC))


@pytest.mark.slow
def test_votes_become_v1_1_and_count_as_used_once_it_is_judged(lane: OpenLane, store: FeedbackStore) -> None:
    vote(lane, store, 0, 30)
    started = decide(lane, store)
    assert isinstance(started, StartRun)
    assert lane.run(*TRAINING).success
    assert isinstance(decide(lane, store), StartRun), "a run that stopped before its report has consumed nothing"
    lane.run(*DPO, tags={THROUGH_TAG: str(started.through_seq)})
    assert lane.metadata("dpo_adapter")["reused"] is True
    assert lane.metadata("dpo_adapter")["version"] == "v1.1"
    skipped = decide(lane, store)
    assert isinstance(skipped, Skip)
    assert skipped.reason == "0 of 10 new preferences; 10 to go."

    card = lane.artifact("dpo_adapter").manifest.run_card
    assert card is not None
    assert card["parent"]["sha256"] == lane.metadata("sft_adapter")["adapter_sha256"]
    assert card["reference"] is not None
    again = lane.run(*DPO[:3])
    failed = [event.message for event in again.all_events if event.is_failure]
    assert again.success == (lane.metadata("dpo_report")["verdict"] == "PASS"), failed
    assert [lane.metadata(asset)["reused"] for asset in DPO[:3]] == [True, True, True]


def test_no_sealed_prompt_is_trained_on(lane: OpenLane, store: FeedbackStore) -> None:
    vote(lane, store, 0, 30)
    assert lane.run("preference_set").success
    folder = lane.artifact("preference_set").folder
    prompts = {
        split: {json.dumps(json.loads(line)["prompt"]) for line in (folder / f"{split}.jsonl").read_text().splitlines()}
        for split in ("train", "heldout")
    }
    assert prompts["train"]
    assert prompts["heldout"]
    assert not prompts["train"] & prompts["heldout"]


def test_the_manifest_says_whose_votes_are_in_a_set(lane: OpenLane, store: FeedbackStore) -> None:
    vote(lane, store, 0, 12)
    vote(lane, store, 50, 12, kind="simulated")
    assert lane.run("preference_set").success
    summary = lane.artifact("preference_set").manifest.summary
    assert summary["contains_simulated_votes"] is True
    assert summary["rater_kinds"] == {"human": 12, "simulated": 12}


def test_votes_after_the_trigger_wait_for_the_next_run(lane: OpenLane, store: FeedbackStore) -> None:
    vote(lane, store, 0, 20)
    through = store.count_usable(NAME, after_seq=0).through_seq
    vote(lane, store, 100, 5)
    assert lane.run("preference_set", tags={THROUGH_TAG: str(through)}).success
    summary = lane.artifact("preference_set").manifest.summary
    assert summary["train"] + summary["heldout"] == 20


def test_without_votes_the_message_says_what_to_do(lane: OpenLane) -> None:
    message = lane.complaint("preference_set")
    assert "0 usable pairs" in message
    assert "llmops votes import" in message


@pytest.mark.slow
def test_two_triggers_in_the_same_minute_train_once(lane: OpenLane, store: FeedbackStore) -> None:
    vote(lane, store, 0, 20)
    selection = " or ".join(f'key:"{NAME}/{asset}"' for asset in TRAINING)
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "-m", "llmops_assets.definitions"]
    both = [
        subprocess.Popen(
            [*command, "--select", selection],
            env=lane.files.environment,
            cwd=lane.files.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=280)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sum("step 10/10" in output for output in outputs) == 1
