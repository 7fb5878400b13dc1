"""The quality report against worked examples and against SciPy."""

import dataclasses

import pytest
from scipy.stats import binomtest

from llmops_assets.feedback.ballots import select_pairs
from llmops_assets.feedback.quality import length_bias, preference_quality, rater_agreement, wilson
from llmops_assets.feedback.records import Verdict
from llmops_assets.feedback.store import FeedbackStore
from llmops_assets_tests.feedback.ballot_box import ANN, BOB, LANE, ROBOT, SFT, battle, vote
from llmops_assets_tests.feedback.test_ballots import cast


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (7, 10), (481, 1000)])
def test_wilson_interval_equals_scipy(successes: int, trials: int):
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    ours = wilson(successes, trials)
    assert (ours.low, ours.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_without_trials_nothing_is_claimed():
    assert wilson(0, 0).model_dump() == {"successes": 0, "trials": 0, "estimate": None, "low": 0.0, "high": 1.0}


def test_alpha_of_a_worked_example():
    # Krippendorff (2011), "Computing Krippendorff's alpha-reliability", section A: binary data, two observers, ten
    # units, alpha = 0.095.
    meg = "0100000000"
    owen = "1110010010"
    verdicts: dict[str, Verdict] = {"0": "left", "1": "right"}
    votes = [
        cast(seq * 2 + which, verdicts[value], rater, battle=f"b{seq}")
        for seq, values in enumerate(zip(meg, owen, strict=True))
        for which, (rater, value) in enumerate(zip(("meg", "owen"), values, strict=True))
    ]
    agreement = rater_agreement(votes)
    assert agreement.alpha == pytest.approx(0.095, abs=5e-4)
    assert (agreement.battles, agreement.agreeing.successes, agreement.agreeing.trials) == (10, 6, 10)


def test_alpha_is_undefined_without_overlap_and_one_for_perfect_agreement():
    assert rater_agreement([cast(1), cast(2, battle="b2")]).alpha is None
    votes = [cast(1), cast(2, rater="bob"), cast(3, "right", battle="b2"), cast(4, "right", "bob", battle="b2")]
    assert rater_agreement(votes).alpha == 1.0
    assert rater_agreement([cast(1), cast(2, "skip", "bob")]).battles == 0


def test_length_bias_counts_wins_of_the_longer_side():
    votes = [cast(1, "right"), cast(2, "right", battle="b2"), cast(3, "left", battle="b3")]
    even = dataclasses.replace(cast(4, "left", battle="b4"), chars_right=10)
    bias = length_bias([*votes, even])
    assert (bias.successes, bias.trials) == (2, 3)


def test_report_of_a_store(store: FeedbackStore):
    vote(store, "left", ANN, battle("one"))
    vote(store, "left", ANN, battle("two"))
    vote(store, "tie", BOB, battle("three"))
    vote(store, "both_bad", BOB, battle("four", right_version=SFT))
    vote(store, "left", ROBOT, battle("five"))
    first = vote(store, "left", BOB, battle("six"))
    store.retract_vote(first, BOB)
    vote(store, "left", BOB, battle("one"))
    stats = store.stats(LANE)
    assert (stats.votes, stats.current, stats.usable, stats.raters) == (8, 6, 3, 3)
    assert stats.by_verdict == {"both_bad": 1, "left": 4, "tie": 1}
    assert stats.by_rater_kind == {"human": 5, "simulated": 1}
    assert stats.usable_by_rater_kind == {"human": 2, "simulated": 1}
    assert stats.by_version_pair == {"v1.0 vs v1.0": 1, "v1.0 vs v1.1": 5}
    assert (stats.duplicates, stats.contradictions) == (1, 0)
    assert stats.largest_rater_share == 0.5
    assert (stats.position_bias.successes, stats.position_bias.trials) == (4, 4)
    assert stats.position_bias.low == pytest.approx(binomtest(4, 4).proportion_ci(method="wilson").low)
    assert (stats.length_bias.successes, stats.length_bias.trials) == (4, 4)
    assert stats.excluded == {"superseded": 1, "retracted": 1, "tie": 1, "both_bad": 1, "duplicate": 1}
    before = store.stats(LANE, through_seq=2)
    assert (before.votes, before.usable, before.through_seq) == (2, 2, 2)


def test_report_of_an_empty_deployment_has_no_shares():
    stats = preference_quality([], select_pairs([]), {}, deployment=LANE, through_seq=0)
    assert (stats.votes, stats.largest_rater_share, stats.position_bias.estimate) == (0, None, None)


def test_contradictions_and_draws_are_counted_together():
    votes = [
        cast(1),
        cast(2, "right", "bob"),
        cast(3, battle="b2", prompt="q"),
        cast(4, "right", "c", "b3", prompt="q"),
    ]
    stats = preference_quality(votes, select_pairs(votes), {}, deployment=LANE, through_seq=4)
    assert stats.contradictions == 4
