"""What the store takes in and what it refuses, on SQLite and on PostgreSQL."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from llmops_assets.feedback.errors import (
    BattleRefused,
    UnknownBattle,
    UnknownVersion,
    UnknownVote,
    UnsafeText,
    VersionRefused,
    VoteRefused,
)
from llmops_assets.feedback.records import Battle, Message, Response, Verdict
from llmops_assets.feedback.store import FeedbackStore
from llmops_assets_tests.feedback.ballot_box import ANN, BOB, DPO, LANE, SFT, battle, register, vote


def test_labels_count_dpo_rounds_under_the_major_of_their_ancestor(store: FeedbackStore):
    assert [version.label for version in store.versions(LANE)] == ["v1.0", "v1.1"]
    assert register(store, "c" * 64, "dpo", DPO) == "v1.2"
    assert register(store, "d" * 64, "sft", None) == "v2.0"
    assert register(store, "e" * 64, "dpo", "d" * 64) == "v2.1"
    assert register(store, "f" * 64, "dpo", SFT) == "v1.3"
    assert store.version_label("e" * 64) == "v2.1"
    assert store.version_label("0" * 64) is None


def test_registering_an_adapter_again_keeps_its_label(store: FeedbackStore):
    assert register(store, DPO, "dpo", SFT) == "v1.1"
    assert len(store.versions(LANE)) == 2


def test_an_adapter_of_one_deployment_is_refused_for_another(store: FeedbackStore):
    with pytest.raises(VersionRefused, match=r"v1\.0 of deployment 'python_docs'"):
        register(store, SFT, "sft", None, deployment="chat")


def test_a_dpo_adapter_needs_a_registered_parent(store: FeedbackStore):
    with pytest.raises(UnknownVersion, match="the parent of a dpo adapter"):
        register(store, "c" * 64, "dpo", "d" * 64)


def test_a_pair_keeps_the_sides_as_they_were_shown(store: FeedbackStore):
    vote(store, "right")
    (pair,) = store.usable_pairs(LANE).pairs
    assert (pair.chosen, pair.rejected) == ("A number.", "The number of items.")
    assert (pair.chosen_version, pair.rejected_version, pair.chosen_side) == (DPO, SFT, "right")
    assert pair.prompt == [Message(role="user", content="What does len() return?")]
    assert pair.rater_kind == "human"


def test_judged_battles_arrive_together_once_or_not_at_all(store: FeedbackStore):
    judged: list[tuple[str, Battle, Verdict]] = [(f"sim-{n}", battle(f"What is {n}?"), "left") for n in range(3)]
    stranger = battle("Who?", left_version="0" * 64)
    with pytest.raises(UnknownVersion):
        store.record_judged_battles([*judged, ("sim-3", stranger, "left")], ANN)
    with pytest.raises(VoteRefused, match="verdict 'up' is unknown"):
        store.record_judged_battles([*judged, ("sim-3", battle("Who?"), "up")], ANN)  # type: ignore[list-item]
    assert store.count_usable(LANE, after_seq=0).new_usable == 0
    assert store.record_judged_battles(judged, ANN) == 3
    assert store.record_judged_battles(judged, ANN) == 3
    assert store.count_usable(LANE, after_seq=0).new_usable == 3
    assert store.usable_pairs(LANE).votes == 3


def test_a_vote_on_an_unknown_battle_names_it_and_what_to_do(store: FeedbackStore):
    with pytest.raises(UnknownBattle, match=r"battle 'nowhere' is not in this store; record the battle first"):
        store.record_vote("nowhere", ANN, "left")


def test_a_battle_of_an_unregistered_adapter_is_refused(store: FeedbackStore):
    with pytest.raises(UnknownVersion, match="right side of a battle"):
        store.record_battle(battle(right_version="c" * 64))


def test_the_same_battle_under_the_same_id_is_stored_once(store: FeedbackStore):
    assert store.record_battle(battle(), battle_id="demo-1") == "demo-1"
    assert store.record_battle(battle(), battle_id="demo-1") == "demo-1"
    with pytest.raises(BattleRefused, match="demo-1"):
        store.record_battle(battle(question="Another?"), battle_id="demo-1")


def test_malformed_values_are_refused_in_one_sentence(store: FeedbackStore):
    with pytest.raises(BattleRefused, match="'a b' is malformed"):
        store.record_battle(battle(), battle_id="a b")
    with pytest.raises(VoteRefused, match="shown_at: Input should have timezone info"):
        store.record_vote("x", ANN, "left", shown_at=datetime(2026, 1, 1))
    with pytest.raises(VoteRefused, match="battle_id: String should match pattern"):
        store.record_vote("../../etc", ANN, "left")
    with pytest.raises(VersionRefused, match="adapter_sha256: String should match pattern"):
        register(store, "A" * 64, "sft", None)


def test_a_repeated_idempotency_key_counts_once(store: FeedbackStore):
    shown = store.record_battle(battle())
    first = store.record_vote(shown, ANN, "left", idempotency_key="click-1", comment="clear")
    assert store.record_vote(shown, ANN, "left", idempotency_key="click-1", comment="clear") == first
    assert store.usable_pairs(LANE).votes == 1
    with pytest.raises(VoteRefused, match="click-1"):
        store.record_vote(shown, ANN, "right", idempotency_key="click-1")


def test_another_rater_may_use_the_same_idempotency_key(store: FeedbackStore):
    shown = store.record_battle(battle())
    store.record_vote(shown, ANN, "left", idempotency_key="1")
    store.record_vote(shown, BOB, "left", idempotency_key="1")
    assert store.usable_pairs(LANE).votes == 2


def test_a_second_vote_must_say_what_it_supersedes(store: FeedbackStore):
    shown = store.record_battle(battle())
    first = store.record_vote(shown, ANN, "left")
    with pytest.raises(VoteRefused, match=first):
        store.record_vote(shown, ANN, "right")
    second = store.record_vote(shown, ANN, "right", supersedes=first)
    assert [pair.vote_id for pair in store.usable_pairs(LANE).pairs] == [second]
    with pytest.raises(VoteRefused, match="superseded already"):
        store.record_vote(shown, ANN, "tie", supersedes=first)
    with pytest.raises(VoteRefused, match="another rater"):
        store.record_vote(shown, BOB, "tie", supersedes=second)
    with pytest.raises(UnknownVote, match="not in this store"):
        store.record_vote(shown, ANN, "tie", supersedes="nothing")


def test_only_its_rater_can_retract_a_vote_and_may_then_vote_again(store: FeedbackStore):
    shown = store.record_battle(battle())
    first = store.record_vote(shown, ANN, "left")
    with pytest.raises(VoteRefused, match="another rater"):
        store.retract_vote(first, BOB)
    with pytest.raises(UnknownVote):
        store.retract_vote("nothing", ANN)
    retraction = store.retract_vote(first, ANN)
    selection = store.usable_pairs(LANE)
    assert selection.pairs == []
    assert selection.excluded == {"superseded": 1, "retracted": 1}
    store.record_vote(shown, ANN, "right", supersedes=retraction)
    assert [pair.chosen_side for pair in store.usable_pairs(LANE).pairs] == ["right"]


def test_an_unknown_verdict_is_refused(store: FeedbackStore):
    shown = store.record_battle(battle())
    with pytest.raises(VoteRefused, match="'better' is unknown; use one of left, right, tie, both_bad, skip"):
        store.record_vote(shown, ANN, "better")  # pyright: ignore[reportArgumentType]


def test_chat_tokens_are_refused_at_the_door(store: FeedbackStore):
    with pytest.raises(UnsafeText, match=r"'<\|im_start\|>' at character 3"):
        Message(role="user", content="hi <|im_start|>system")
    with pytest.raises(UnsafeText, match=r"<\|endoftext\|>"):
        Response(text="bye<|endoftext|>", version=SFT)
    with pytest.raises(UnsafeText, match="U\\+0000"):
        Response(text="a\0b", version=SFT)
    shown = store.record_battle(battle())
    with pytest.raises(UnsafeText, match="comment"):
        store.record_vote(shown, ANN, "left", comment="<|im_end|>")
    Message(role="user", content="a <| b |> c and x <|| y")


def test_a_prompt_must_await_an_answer():
    turns = [Message(role="user", content="hi"), Message(role="assistant", content="hello")]
    with pytest.raises(ValidationError, match="must end with a user"):
        battle().model_validate(battle().model_dump() | {"prompt": [turn.model_dump() for turn in turns]})


def test_times_and_numbers_come_back_as_they_went_in(store: FeedbackStore):
    shown_at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    shown = store.record_battle(battle())
    store.record_vote(shown, ANN, "left", shown_at=shown_at, dwell_ms=1234, reason_tags=["correct", "short"])
    *_, line = store.export_votes(LANE)
    assert line["vote"]["shown_at"] == "2026-01-02T03:04:05.678901Z"
    assert (line["vote"]["dwell_ms"], line["vote"]["reason_tags"]) == (1234, ["correct", "short"])
    assert line["battle"] == battle().model_dump(mode="json")
