"""Intervals and sample sizes for gates: paired, clustered by group, and careful where examples are few.

numpy and scipy are imported where the bootstrap needs them, for the Dagster layer loads this module in every process.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 4_000
# Below this many clusters the bootstrap is too narrow; the t interval's degrees of freedom say how few there are.
BOOTSTRAP_CLUSTERS = 20
POWER = 0.8


@dataclass(frozen=True)
class Interval:
    """An estimate with its two-sided confidence interval.

    `spread` is the standard deviation that one example contributes, inflated by clustering: the standard error
    times the root of `n`. It is what sample sizes are computed from.
    """

    estimate: float
    low: float
    high: float
    n: int
    clusters: int
    spread: float


def wilson(successes: float, n: float, confidence: float) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927). `successes` may count ties as halves, `n` may be an effective size.

    Raises ValueError unless 0 <= successes <= n and n > 0.
    """
    if not (n > 0 and 0 <= successes <= n):
        raise ValueError(f"{successes} successes of {n} are no proportion")
    z = _z(confidence)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def proportion(outcomes: Sequence[float], groups: Sequence[str], confidence: float) -> Interval:
    """Wilson interval of a mean of outcomes in {0, 1/2, 1}, at the effective sample size of its clusters.

    The size is divided by the design effect (Kish 1965), the ratio of the cluster-robust to the simple variance,
    never below 1. Where all outcomes are equal the variance says nothing and each cluster counts once.
    Raises ValueError without outcomes.
    """
    sums, counts = _cluster_sums(groups, outcomes, [1.0] * len(outcomes))
    n, clusters = len(outcomes), len(counts)
    mean = math.fsum(outcomes) / n
    simple = mean * (1 - mean) / n
    if simple == 0:
        effective = float(clusters)
    else:
        squares = math.fsum((total - mean * count) ** 2 for total, count in zip(sums, counts, strict=True))
        robust = squares / n**2 * clusters / max(clusters - 1, 1)
        effective = n / max(1.0, robust / simple)
    low, high = wilson(mean * effective, effective, confidence)
    spread = math.sqrt(mean * (1 - mean) * n / effective)
    return Interval(mean, low, high, n, clusters, spread)


def ratio_of_sums(
    numerators: Sequence[float],
    denominators: Sequence[float],
    groups: Sequence[str],
    *,
    confidence: float,
    seed: int,
) -> Interval | None:
    """Sum of numerators over sum of denominators, with clusters of examples resampled together.

    From BOOTSTRAP_CLUSTERS clusters on, the interval is the bias-corrected and accelerated bootstrap (Efron 1987);
    below, a t interval on the linearized cluster totals with one degree of freedom fewer than clusters.
    None for a single cluster: it has no spread to learn from.
    """
    tops, bottoms = _cluster_sums(groups, numerators, denominators)
    clusters, n = len(tops), len(numerators)
    if clusters < 2:
        return None
    total = math.fsum(bottoms)
    estimate = math.fsum(tops) / total
    residuals = [top - estimate * bottom for top, bottom in zip(tops, bottoms, strict=True)]
    error = math.sqrt(clusters / (clusters - 1) * math.fsum(residual**2 for residual in residuals)) / total
    spread = error * math.sqrt(n)
    # Rounding alone separates clusters that agree; the bootstrap of a constant is undefined.
    if max(map(abs, residuals)) <= 1e-12 * max(map(abs, bottoms)):
        return Interval(estimate, estimate, estimate, n, clusters, 0.0)
    if clusters < BOOTSTRAP_CLUSTERS:
        from scipy.stats import t

        half = float(t.ppf((1 + confidence) / 2, clusters - 1)) * error
        return Interval(estimate, estimate - half, estimate + half, n, clusters, spread)
    import numpy
    from scipy.stats import bootstrap

    result = bootstrap(
        (numpy.array(tops), numpy.array(bottoms)),
        lambda top, bottom, axis: top.sum(axis=axis) / bottom.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=500,
        confidence_level=confidence,
        method="BCa",
        rng=numpy.random.default_rng(seed),
    )
    low, high = (float(bound) for bound in result.confidence_interval)
    return Interval(estimate, low, high, n, clusters, spread)


def paired_difference(
    candidate: Sequence[float],
    baseline: Sequence[float],
    groups: Sequence[str],
    *,
    confidence: float,
    seed: int,
) -> Interval | None:
    """Mean of candidate - baseline over the same examples (arXiv 2411.00640, section 4). None for a single cluster."""
    differences = [new - old for new, old in zip(candidate, baseline, strict=True)]
    return ratio_of_sums(differences, [1.0] * len(differences), groups, confidence=confidence, seed=seed)


def paired_binary_difference(
    candidate: Sequence[float],
    baseline: Sequence[float],
    groups: Sequence[str],
    *,
    confidence: float,
    seed: int,
) -> Interval | None:
    """Difference of two paired shares; at least as wide as the adjusted Wald interval of Agresti and Min (2005).

    Where hardly any example changes, resampling shows no spread at all; half an observation in each of the four
    cells does. The wider bound of the two intervals counts.
    """
    resampled = paired_difference(candidate, baseline, groups, confidence=confidence, seed=seed)
    if resampled is None:
        return None
    gained = sum(new > old for new, old in zip(candidate, baseline, strict=True)) + 0.5
    lost = sum(new < old for new, old in zip(candidate, baseline, strict=True)) + 0.5
    n = resampled.n + 2
    centre = (gained - lost) / n
    error = math.sqrt(gained + lost - (gained - lost) ** 2 / n) / n
    half = _z(confidence) * error
    return Interval(
        resampled.estimate,
        min(resampled.low, centre - half),
        max(resampled.high, centre + half),
        resampled.n,
        resampled.clusters,
        max(resampled.spread, error * math.sqrt(n)),
    )


def examples_for_power(spread: float, distance: float, confidence: float) -> int:
    """Paired examples at which an effect `distance` away from the threshold is seen in 80 % of repetitions.

    `spread` is the standard deviation of one example. Raises ValueError unless distance > 0.
    """
    if distance <= 0:
        raise ValueError("an effect on the threshold is never seen, whatever the number of examples")
    return max(1, math.ceil(((_z(confidence) + _z_power()) * spread / distance) ** 2))


def detectable_effect(spread: float, n: int, confidence: float) -> float:
    """Distance from the threshold that `n` examples show in 80 % of repetitions: the minimum detectable effect."""
    return (_z(confidence) + _z_power()) * spread / math.sqrt(n)


def _cluster_sums(
    groups: Sequence[str], first: Sequence[float], second: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Sums of both columns per group, in the order in which the groups first appear."""
    if not len(groups) == len(first) == len(second) or not groups:
        raise ValueError(
            f"{len(first)} and {len(second)} values need as many groups and at least one, not {len(groups)}"
        )
    sums: dict[str, tuple[list[float], list[float]]] = {}
    for group, left, right in zip(groups, first, second, strict=True):
        lefts, rights = sums.setdefault(group, ([], []))
        lefts.append(left)
        rights.append(right)
    return [math.fsum(lefts) for lefts, _ in sums.values()], [math.fsum(rights) for _, rights in sums.values()]


def _z(confidence: float) -> float:
    return statistics.NormalDist().inv_cdf((1 + confidence) / 2)


def _z_power() -> float:
    return statistics.NormalDist().inv_cdf(POWER)
