"""Krippendorff's alpha of the raters, with a bootstrap over battles. numpy is imported where it is needed."""

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from llmops_assets.evaluation.preference_quality.figures import Agreement, Share
from llmops_assets.feedback.ballots import CastVote

if TYPE_CHECKING:
    import numpy

RESAMPLES = 2_000
_BATCH = 100
# Where fewer resamples than this share have any variation, the rest would make the interval look narrower than it is.
_LEAST_DEFINED = 0.9


def rater_agreement(votes: Iterable[CastVote], *, confidence: float, seed: int) -> Agreement:
    """Agreement on battles that two raters or more have judged; verdicts are nominal, a skip is a missing value.

    Alpha by the coincidence matrix (Krippendorff, Content Analysis, 2004, section 11.3). The interval resamples
    battles (percentile bootstrap): raters are taken as they are, what is drawn anew is what they were asked.
    """
    import numpy

    by_battle: defaultdict[str, list[str]] = defaultdict(list)
    for vote in votes:
        if vote.verdict != "skip":
            by_battle[vote.battle_id].append(vote.verdict)
    battles = [verdicts for verdicts in by_battle.values() if len(verdicts) > 1]
    kinds = sorted({verdict for verdicts in battles for verdict in verdicts})
    counts = numpy.array([[verdicts.count(kind) for kind in kinds] for verdicts in battles], dtype=float)
    if not battles:
        nothing = Share.counted(0, 0, confidence)
        return Agreement(battles=0, agreeing=nothing, alpha=None, low=None, high=None)
    raters = counts.sum(axis=1)
    compared = raters * (raters - 1) / 2
    agreeing = (counts * (counts - 1) / 2).sum(axis=1)
    alpha = _alphas(numpy.ones((1, len(battles))), counts)
    low, high = _bootstrap(counts, confidence, seed)
    return Agreement(
        battles=len(battles),
        agreeing=Share.counted(round(agreeing.sum()), round(compared.sum()), confidence),
        alpha=None if numpy.isnan(alpha[0]) else float(alpha[0]),
        low=low,
        high=high,
    )


def _bootstrap(counts: "numpy.ndarray", confidence: float, seed: int) -> tuple[float | None, float | None]:
    import numpy

    generator, battles = numpy.random.default_rng(seed), len(counts)
    if battles < 2:
        return None, None
    alphas = numpy.concatenate(
        [
            _alphas(generator.multinomial(battles, numpy.full(battles, 1 / battles), size=_BATCH), counts)
            for _ in range(RESAMPLES // _BATCH)
        ]
    )
    defined = alphas[~numpy.isnan(alphas)]
    if len(defined) < _LEAST_DEFINED * RESAMPLES:
        return None, None
    low, high = numpy.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _alphas(weights: "numpy.ndarray", counts: "numpy.ndarray") -> "numpy.ndarray":
    """Alpha per row of `weights` (resamples x battles); `counts` is battles x verdicts. NaN without variation."""
    import numpy

    raters = counts.sum(axis=1)
    disagreeing = (counts * (raters[:, None] - counts)).sum(axis=1) / (raters - 1)
    totals = weights @ counts
    values = totals.sum(axis=1)
    expected = values**2 - (totals**2).sum(axis=1)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        return numpy.where(expected > 0, 1 - (values - 1) * (weights @ disagreeing) / expected, numpy.nan)
