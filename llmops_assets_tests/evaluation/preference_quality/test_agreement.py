"""Krippendorff's alpha against worked examples, and its bootstrap against its sampling error."""

import random
from collections.abc import Sequence

import pytest

from llmops_assets.evaluation.preference_quality.agreement import rater_agreement
from llmops_assets.evaluation.preference_quality.figures import Agreement
from llmops_assets.feedback.ballots import CastVote
from llmops_assets.feedback.records import Verdict
from llmops_assets_tests.feedback.test_ballots import cast


def agreement(votes: list[CastVote]) -> Agreement:
    return rater_agreement(votes, confidence=0.95, seed=7)


def width(found: Agreement) -> float:
    assert found.low is not None and found.high is not None
    return found.high - found.low


def two_raters(verdicts: Sequence[tuple[Verdict, Verdict]]) -> list[CastVote]:
    return [
        cast(number * 2 + which, verdict, rater, battle=f"b{number}")
        for number, pair in enumerate(verdicts)
        for which, (rater, verdict) in enumerate(zip(("meg", "owen"), pair, strict=True))
    ]


def test_alpha_of_a_worked_example():
    # Krippendorff (2011), "Computing Krippendorff's alpha-reliability", section A: binary data, two observers, ten
    # units, alpha = 0.095.
    sides: dict[str, Verdict] = {"0": "left", "1": "right"}
    found = agreement(two_raters([(sides[a], sides[b]) for a, b in zip("0100000000", "1110010010", strict=True)]))
    assert found.alpha == pytest.approx(0.095, abs=5e-4)
    assert (found.battles, found.agreeing.count, found.agreeing.of) == (10, 6, 10)


def test_alpha_of_three_raters_with_a_missing_value():
    verdicts: list[Verdict] = ["left", "left", "right", "right", "right", "tie", "skip"]
    votes = [cast(seq, verdict, f"r{seq}", battle=f"b{seq // 3}") for seq, verdict in enumerate(verdicts)]
    found = agreement(votes)
    # Battles (left, left, right) and (right, right, tie): observed 2 + 2 of 6, expected 22 / 30.
    assert (found.battles, found.agreeing.count, found.agreeing.of) == (2, 2, 6)
    assert found.alpha == pytest.approx(1 - 5 * 4 / 22)


def test_alpha_is_undefined_without_overlap_and_one_for_perfect_agreement():
    alone = agreement([cast(1), cast(2, battle="b2")])
    assert (alone.battles, alone.alpha, alone.low) == (0, None, None)
    assert agreement(two_raters([("left", "left"), ("right", "right")])).alpha == 1.0
    assert agreement(two_raters([("left", "left"), ("left", "left")])).alpha is None


def test_the_interval_holds_alpha_and_narrows_with_battles():
    draw = random.Random(3)
    sides: list[Verdict] = ["left", "right"]
    noisy: list[tuple[Verdict, Verdict]] = [
        (side, side if draw.random() < 0.8 else draw.choice(sides)) for side in draw.choices(sides, k=400)
    ]
    few, many = agreement(two_raters(noisy[:50])), agreement(two_raters(noisy))
    for found, wanted in ((few, few.alpha), (many, 0.8)):
        assert found.low is not None and found.high is not None
        assert wanted is not None and found.low < wanted < found.high
    assert width(few) > 2 * width(many)
    assert agreement(two_raters(noisy)) == many, "seeded"
