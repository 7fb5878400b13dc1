"""What a preference set takes: no text that names its model, no more of one rater than its share."""

from collections import Counter

import pytest

from llmops_assets.feedback.admission import admitted_pairs, most_per_rater, quarantine_row, within_rater_share
from llmops_assets.feedback.records import PairSelection, Rater
from llmops_assets.feedback.specs import PreferenceSetSpec
from llmops_assets.feedback.store import FeedbackStore
from llmops_assets_tests.feedback.ballot_box import ANN, BOB, CID, LANE, ROBOT, battle, vote


def capped(store: FeedbackStore) -> PairSelection:
    return within_rater_share(admitted_pairs(store, LANE, PreferenceSetSpec(), "embedded"), 0.4)


@pytest.mark.parametrize(
    ("counts", "share", "most"),
    [
        ([60, 20, 20], 0.4, 26),
        ([10, 10, 10], 0.4, 10),
        ([1000, 1, 1], 0.4, 1),
        ([10, 5], 0.5, 5),
        ([10, 5], 0.4, None),
        ([], 0.4, None),
    ],
)
def test_the_largest_number_that_holds(counts: list[int], share: float, most: int | None) -> None:
    assert most_per_rater(counts, share) == most
    if most is not None:
        kept = [min(count, most) for count in counts]
        assert max(kept) <= share * sum(kept) + 1e-9


def fill(store: FeedbackStore, rater: Rater, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        vote(store, "left", rater, battle(f"{rater.subject} asks {number}"))


def test_a_dominating_rater_is_cut_by_hash_and_the_cut_is_told(store: FeedbackStore) -> None:
    fill(store, ANN, 20)
    fill(store, BOB, 6)
    fill(store, CID, 6)
    first = capped(store)
    assert sorted(Counter(pair.rater_id for pair in first.pairs).values()) == [6, 6, 8]
    assert first.excluded == {"rater_over_share": 12}
    assert first.votes == 32
    assert first.left_out[0].detail == "its rater decided 20 pairs; a share of 0.4 admits 8"
    assert capped(store) == first
    fill(store, BOB, 4, start=6)
    kept = {pair.vote_id for pair in capped(store).pairs}
    assert {pair.vote_id for pair in first.pairs} < kept, "a set that grows keeps what it had"


def test_two_raters_cannot_keep_a_share_of_two_fifths_so_nothing_is_cut(store: FeedbackStore) -> None:
    fill(store, ANN, 5)
    fill(store, BOB, 1)
    assert len(capped(store).pairs) == 6


def test_simulated_votes_are_not_cut(store: FeedbackStore) -> None:
    fill(store, ROBOT, 9)
    for rater in (ANN, BOB, CID):
        fill(store, rater, 1)
    assert len(capped(store).pairs) == 12


def test_a_pair_that_names_its_model_is_left_out_with_the_place_and_without_its_text(store: FeedbackStore) -> None:
    vote(store, "left", ANN, battle("one", left="I am ChatGPT."))
    vote(store, "right", ANN, battle("two", left="I am v1.1."))
    vote(store, "left", ANN, battle("three", right="Ask v1.2."))
    selection = admitted_pairs(store, LANE, PreferenceSetSpec(), "embedded")
    assert [pair.prompt[0].content for pair in selection.pairs] == ["three"], "v1.2 is no version that was voted on"
    rows = [quarantine_row(left_out) for left_out in selection.left_out]
    assert [(row["reason"], row["detail"]) for row in rows] == [
        ("identity_leak", "chosen: chatgpt"),
        ("identity_leak", "rejected: v1.1"),
    ]
    assert set(rows[0]) == {"source", "vote_id", "battle_id", "seq", "reason", "detail"}
    allowing = PreferenceSetSpec(allowed_names=["ChatGPT"], identity_names=["Ask"])
    kept = admitted_pairs(store, LANE, allowing, "embedded").pairs
    assert [pair.prompt[0].content for pair in kept] == ["one"]


def test_votes_of_the_erased_and_of_strangers_are_left_out_with_their_reason(store: FeedbackStore) -> None:
    vote(store, "left", ANN, battle("one"))
    vote(store, "left", Rater(subject="eve", kind="human", trust="anonymous"), battle("two"))
    vote(store, "both_bad", BOB, battle("three"))
    store.erase_rater(ANN)
    selection = admitted_pairs(store, LANE, PreferenceSetSpec(), "embedded")
    assert [left_out.reason for left_out in selection.left_out] == ["rater_erased", "rater_anonymous", "both_bad"]
