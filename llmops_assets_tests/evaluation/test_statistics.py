import math

import numpy
import pytest

from llmops_assets.evaluation.statistics import (
    detectable_effect,
    examples_for_power,
    paired_binary_difference,
    paired_difference,
    proportion,
    ratio_of_sums,
    wilson,
)


def alone(count: int) -> list[str]:
    return [str(index) for index in range(count)]


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(60, 100, 0.5020, 0.6906), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)],
)
def test_wilson_interval_of_published_examples(successes: float, n: float, low: float, high: float):
    assert wilson(successes, n, 0.95) == pytest.approx((low, high), abs=1e-4)


def test_wilson_takes_half_successes_between_their_neighbours():
    low, high = wilson(60.5, 100, 0.95)
    assert wilson(60, 100, 0.95)[0] < low < wilson(61, 100, 0.95)[0]
    assert wilson(60, 100, 0.95)[1] < high < wilson(61, 100, 0.95)[1]


def test_a_share_above_one_is_refused():
    with pytest.raises(ValueError, match="no proportion"):
        wilson(11, 10, 0.95)


def test_copies_of_an_example_add_no_evidence_to_a_proportion():
    outcomes = [1.0] * 30 + [0.0] * 20
    once = proportion(outcomes, alone(50), 0.95)
    copied = proportion(outcomes * 4, alone(50) * 4, 0.95)
    assert copied.estimate == once.estimate == 0.6
    # n / (n - 1) in the variance of 50 clusters is all that may differ.
    assert copied.high - copied.low == pytest.approx(once.high - once.low, rel=0.02)
    assert proportion(outcomes * 4, alone(200), 0.95).low > copied.low + 0.05


def test_a_unanimous_proportion_counts_each_cluster_once():
    interval = proportion([1.0] * 100, ["a", "b"] * 50, 0.95)
    assert interval.low == pytest.approx(wilson(2, 2, 0.95)[0])


def test_the_ratio_weighs_examples_by_their_denominator():
    interval = ratio_of_sums([10.0, 0.0] * 20, [1.0, 9.0] * 20, alone(40), confidence=0.95, seed=1)
    assert interval is not None
    assert interval.estimate == pytest.approx(1.0)


def test_one_cluster_has_no_interval():
    assert paired_difference([1.0] * 50, [0.0] * 50, ["same"] * 50, confidence=0.95, seed=1) is None


def test_clustered_examples_widen_the_interval():
    draws = numpy.random.default_rng(5)
    effects = numpy.repeat(draws.normal(0.1, 0.3, 40), 5)
    groups = [str(index // 5) for index in range(200)]
    clustered = paired_difference(effects.tolist(), [0.0] * 200, groups, confidence=0.95, seed=1)
    independent = paired_difference(effects.tolist(), [0.0] * 200, alone(200), confidence=0.95, seed=1)
    assert clustered is not None and independent is not None
    assert clustered.clusters == 40
    assert clustered.high - clustered.low > 1.8 * (independent.high - independent.low)


def test_the_seed_fixes_the_bootstrap():
    values = numpy.random.default_rng(2).normal(size=60).tolist()
    first, again, other = (
        paired_difference(values, [0.0] * 60, alone(60), confidence=0.95, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize(("clusters", "per_cluster"), [(6, 5), (40, 2)])
def test_intervals_cover_the_truth_about_as_often_as_they_say(clusters: int, per_cluster: int):
    draws = numpy.random.default_rng(11)
    groups = [str(index // per_cluster) for index in range(clusters * per_cluster)]
    repetitions, covered = 120, 0
    for seed in range(repetitions):
        effects = numpy.repeat(draws.normal(0.2, 1.0, clusters), per_cluster)
        values = (effects + draws.normal(0, 0.5, clusters * per_cluster)).tolist()
        interval = paired_difference(values, [0.0] * len(values), groups, confidence=0.9, seed=seed)
        assert interval is not None
        covered += interval.low <= 0.2 <= interval.high
    # Three binomial standard deviations around 0.9 with 120 repetitions.
    assert 0.82 <= covered / repetitions <= 0.98


def test_shares_that_never_differ_still_have_a_margin_that_shrinks_with_n():
    few, many = (paired_binary_difference([1.0] * n, [1.0] * n, alone(n), confidence=0.95, seed=1) for n in (30, 3_000))
    assert few is not None and many is not None
    assert few.estimate == 0
    assert few.low < -0.02 < many.low < 0


def test_a_binary_interval_is_never_narrower_than_the_resampled_one():
    draws = numpy.random.default_rng(3)
    new, old = (draws.integers(0, 2, 80).astype(float).tolist() for _ in range(2))
    binary = paired_binary_difference(new, old, alone(80), confidence=0.95, seed=1)
    resampled = paired_difference(new, old, alone(80), confidence=0.95, seed=1)
    assert binary is not None and resampled is not None
    assert binary.low <= resampled.low and binary.high >= resampled.high
    assert binary.estimate == resampled.estimate


def test_sample_sizes_match_the_normal_formula_and_a_simulation():
    assert examples_for_power(0.1, 0.01, 0.95) == math.ceil((1.959964 + 0.841621) ** 2 * 100)
    n = examples_for_power(1.0, 0.5, 0.95)
    draws = numpy.random.default_rng(9).normal(0.5, 1.0, (2_000, n))
    seen = draws.mean(axis=1) - 1.96 / math.sqrt(n) > 0
    assert seen.mean() == pytest.approx(0.8, abs=0.04)


def test_the_detectable_effect_is_the_inverse_of_the_sample_size():
    effect = detectable_effect(0.2, 500, 0.95)
    assert examples_for_power(0.2, effect, 0.95) == pytest.approx(500, abs=1)


def test_an_effect_on_the_threshold_has_no_sample_size():
    with pytest.raises(ValueError, match="on the threshold"):
        examples_for_power(0.1, 0.0, 0.95)
