"""Do votes follow the side or the length? numpy and scipy are imported where they are needed."""

import math
from collections.abc import Sequence
from statistics import NormalDist

from llmops_assets.evaluation.preference_quality.figures import Adjusted, Share
from llmops_assets.feedback.ballots import CastVote

# Standard deviation of both coefficients' normal prior, in logits: so wide that it only keeps them finite where side
# or length decides every single vote.
_PRIOR_SD = 5.0


def left_share(votes: Sequence[CastVote], confidence: float) -> Share:
    """Share of decisive votes for the left side."""
    decisive = [vote for vote in votes if vote.chosen_side]
    return Share.counted(sum(vote.verdict == "left" for vote in decisive), len(decisive), confidence)


def longer_share(votes: Sequence[CastVote], confidence: float) -> Share:
    """Share of decisive votes for the answer with more characters; equal lengths are left out."""
    unequal = [vote for vote in votes if vote.chosen_side and vote.chars_left != vote.chars_right]
    longer = sum((vote.verdict == "left") == (vote.chars_left > vote.chars_right) for vote in unequal)
    return Share.counted(longer, len(unequal), confidence)


def adjusted_bias(votes: Sequence[CastVote], confidence: float) -> Adjusted | None:
    """Logistic regression of "left won" on an intercept and log2 of left length over right length.

    The idea is that of length-controlled win rates (Dubois et al., arXiv 2404.04475). Fitted by Newton's method with a
    normal prior, see `_PRIOR_SD`; bounds from the curvature at the optimum. None without a decisive vote, or when all
    answers are equally long.
    """
    import numpy
    from scipy.optimize import minimize
    from scipy.special import expit

    decisive = [vote for vote in votes if vote.chosen_side]
    ratios = [math.log2(max(vote.chars_left, 1) / max(vote.chars_right, 1)) for vote in decisive]
    if not any(ratios):
        return None
    design = numpy.column_stack([numpy.ones(len(ratios)), ratios])
    left_won = numpy.array([vote.verdict == "left" for vote in decisive], dtype=float)

    def loss(weights: numpy.ndarray) -> float:
        logits = design @ weights
        return float((numpy.logaddexp(0, logits) - left_won * logits).sum() + (weights**2).sum() / (2 * _PRIOR_SD**2))

    def gradient(weights: numpy.ndarray) -> numpy.ndarray:
        return design.T @ (expit(design @ weights) - left_won) + weights / _PRIOR_SD**2

    def curvature(weights: numpy.ndarray) -> numpy.ndarray:
        chances = expit(design @ weights)
        return (design * (chances * (1 - chances))[:, None]).T @ design + numpy.eye(2) / _PRIOR_SD**2

    fitted = minimize(loss, numpy.zeros(2), jac=gradient, hess=curvature, method="trust-exact").x
    errors = numpy.sqrt(numpy.diag(numpy.linalg.inv(curvature(fitted)))) * NormalDist().inv_cdf((1 + confidence) / 2)
    left, longer = ([float(expit(w + d)) for d in (0, -e, e)] for w, e in zip(fitted, errors, strict=True))
    return Adjusted(
        votes=len(decisive),
        left=left[0],
        left_low=left[1],
        left_high=left[2],
        longer=longer[0],
        longer_low=longer[1],
        longer_high=longer[2],
    )
