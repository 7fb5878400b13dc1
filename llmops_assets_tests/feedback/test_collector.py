"""Recording a preference from Python in one call."""

import pytest

from llmops_assets.feedback.collector import PreferenceCollector
from llmops_assets.feedback.errors import VoteRefused
from llmops_assets.feedback.records import Message, Response
from llmops_assets.feedback.store import FeedbackStore
from llmops_assets_tests.feedback.ballot_box import ANN, DPO, LANE, SFT


def test_a_choice_becomes_a_pair(store: FeedbackStore):
    collector = PreferenceCollector(store, LANE, ANN)
    a, b = Response(text="Four.", version=SFT), Response(text="2 + 2 is 4.", version=DPO)
    collector.collect_preference("What is 2 + 2?", a, b, "b", seed=3, generation={"top_p": 0.9})
    (pair,) = store.usable_pairs(LANE).pairs
    assert (pair.chosen, pair.rejected, pair.chosen_side) == ("2 + 2 is 4.", "Four.", "right")
    *_, line = store.export_votes(LANE)
    assert (line["battle"]["seed"], line["battle"]["generation"]) == (3, {"top_p": 0.9})
    assert line["battle"]["source"] == "python"


def test_a_conversation_can_be_the_question(store: FeedbackStore):
    turns = [
        Message(role="user", content="Hi"),
        Message(role="assistant", content="Hello"),
        Message(role="user", content="Bye"),
    ]
    a, b = Response(text="See you.", version=SFT), Response(text="Bye.", version=SFT)
    PreferenceCollector(store, LANE, ANN).collect_preference(turns, a, b, "a")
    assert store.usable_pairs(LANE).pairs[0].prompt == turns


def test_no_preference_is_recorded_as_such(store: FeedbackStore):
    a, b = Response(text="x", version=SFT), Response(text="y", version=DPO)
    collector = PreferenceCollector(store, LANE, ANN)
    collector.collect_preference("Well?", a, b, "tie")
    collector.collect_preference("Well?", a, b, "both_bad")
    assert store.usable_pairs(LANE).excluded == {"both_bad": 1, "tie": 1}


def test_an_unknown_choice_records_nothing(store: FeedbackStore):
    a, b = Response(text="x", version=SFT), Response(text="y", version=DPO)
    with pytest.raises(VoteRefused, match="'left' is unknown; use one of a, b"):
        PreferenceCollector(store, LANE, ANN).collect_preference(
            "Well?",
            a,
            b,
            "left",  # pyright: ignore[reportArgumentType]
        )
    assert store.usable_pairs(LANE).votes == 0
