"""Position and length bias against known votes and against a regression by other means."""

import dataclasses
import math
import random

import numpy
import pytest
from scipy.optimize import minimize

from llmops_assets.evaluation.preference_quality.bias import adjusted_bias, left_share, longer_share
from llmops_assets.feedback.ballots import CastVote
from llmops_assets.feedback.records import Verdict
from llmops_assets_tests.feedback.test_ballots import cast


def sized(seq: int, verdict: Verdict, left: int, right: int) -> CastVote:
    return dataclasses.replace(cast(seq, verdict, battle=f"b{seq}"), chars_left=left, chars_right=right)


def test_equal_lengths_and_ties_say_nothing_about_length():
    votes = [sized(1, "right", 10, 20), sized(2, "left", 10, 20), sized(3, "left", 9, 9), sized(4, "tie", 1, 2)]
    assert (longer_share(votes, 0.95).count, longer_share(votes, 0.95).of) == (1, 2)
    assert (left_share(votes, 0.95).count, left_share(votes, 0.95).of) == (2, 3)


def test_the_regression_finds_what_votes_were_drawn_from():
    draw = random.Random(11)
    votes = []
    for seq in range(3000):
        left, right = draw.randint(20, 400), draw.randint(20, 400)
        chance = 1 / (1 + math.exp(-(0.4 + 0.9 * math.log2(left / right))))
        votes.append(sized(seq, "left" if draw.random() < chance else "right", left, right))
    found = adjusted_bias(votes, 0.95)
    assert found is not None
    assert found.left_low < 1 / (1 + math.exp(-0.4)) < found.left_high
    assert found.longer_low < 1 / (1 + math.exp(-0.9)) < found.longer_high
    assert min(found.left_low, found.longer_low) > 0.5

    sides = numpy.array([1.0 if vote.verdict == "left" else -1.0 for vote in votes])
    ratios = numpy.array([math.log2(vote.chars_left / vote.chars_right) for vote in votes])
    plain = minimize(lambda w: numpy.logaddexp(0, -sides * (w[0] + w[1] * ratios)).sum(), [0.0, 0.0]).x
    assert found.left == pytest.approx(1 / (1 + math.exp(-plain[0])), abs=1e-3)
    assert found.longer == pytest.approx(1 / (1 + math.exp(-plain[1])), abs=1e-3)


def test_a_rater_who_always_takes_the_longer_has_finite_figures():
    found = adjusted_bias([sized(i, "left" if i % 2 else "right", 10 + 90 * (i % 2), 55) for i in range(200)], 0.95)
    assert found is not None
    assert 0.6 < found.longer_low < found.longer < found.longer_high <= 1


def test_without_different_lengths_there_is_no_regression():
    assert adjusted_bias([sized(1, "left", 9, 9), sized(2, "tie", 9, 10)], 0.95) is None
