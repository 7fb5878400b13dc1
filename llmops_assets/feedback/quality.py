"""The preference quality report: how far a deployment's votes can be trusted. Pure arithmetic, no database."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations
from statistics import NormalDist

from llmops_assets.feedback.ballots import Ballot, CastVote, Exclusion, newest_votes
from llmops_assets.feedback.records import Record


class Proportion(Record):
    """A share with its 95 % Wilson score interval (Wilson 1927). `estimate` is None without trials."""

    successes: int
    trials: int
    estimate: float | None
    low: float
    high: float


class RaterAgreement(Record):
    """Agreement on battles judged by two raters or more: share of agreeing rater pairs, and Krippendorff's alpha.

    Alpha is 1 for perfect agreement and 0 for what chance gives; None when there is no overlap or no variation.
    """

    battles: int
    agreeing: Proportion
    alpha: float | None


class VoteStats(Record):
    """What a deployment's votes look like as of vote `through_seq`.

    `votes` counts every row; the other figures count current votes only (not superseded, not retracted). Position bias
    is the share of decisive votes for the left side, length bias the share for the longer text: 0.5 means none.
    """

    deployment: str
    through_seq: int
    votes: int
    current: int
    usable: int
    excluded: dict[str, int]
    by_verdict: dict[str, int]
    by_rater_kind: dict[str, int]
    by_version_pair: dict[str, int]
    usable_by_rater_kind: dict[str, int]
    duplicates: int
    contradictions: int
    raters: int
    largest_rater_share: float | None
    agreement: RaterAgreement
    position_bias: Proportion
    length_bias: Proportion


def preference_quality(
    votes: Sequence[CastVote], ballot: Ballot, labels: Mapping[str, str], *, deployment: str, through_seq: int
) -> VoteStats:
    """Report on all `votes` of a deployment and on the `ballot` that `select_pairs` made of them.

    `labels` names the versions; `by_version_pair` has keys such as `v1.0 vs v1.1`, whichever stood left.
    """
    current = [vote for vote in newest_votes(votes) if not vote.retracted]
    decisive = [vote for vote in current if vote.chosen_side]
    per_rater = Counter(vote.rater_id for vote in current)
    reasons = ballot.reasons()
    return VoteStats(
        deployment=deployment,
        through_seq=through_seq,
        votes=len(votes),
        current=len(current),
        usable=len(ballot.kept),
        excluded=reasons,
        by_verdict=_counted(vote.verdict for vote in current),
        by_rater_kind=_counted(vote.rater_kind for vote in current),
        by_version_pair=_counted(
            " vs ".join(sorted(labels.get(sha, sha[:12]) for sha in (vote.version_left, vote.version_right)))
            for vote in current
        ),
        usable_by_rater_kind=_counted(vote.rater_kind for vote in ballot.kept),
        duplicates=reasons.get(Exclusion.DUPLICATE, 0),
        contradictions=reasons.get(Exclusion.CONTRADICTORY, 0) + reasons.get(Exclusion.CONFLICTING, 0),
        raters=len(per_rater),
        largest_rater_share=max(per_rater.values()) / len(current) if current else None,
        agreement=rater_agreement(current),
        position_bias=wilson(sum(vote.verdict == "left" for vote in decisive), len(decisive)),
        length_bias=length_bias(decisive),
    )


def length_bias(decisive: Iterable[CastVote]) -> Proportion:
    """Share of decisive votes that went to the longer text (in characters); equal lengths are left out."""
    unequal = [vote for vote in decisive if vote.chars_left != vote.chars_right]
    longer_won = sum((vote.verdict == "left") == (vote.chars_left > vote.chars_right) for vote in unequal)
    return wilson(longer_won, len(unequal))


def rater_agreement(current: Iterable[CastVote]) -> RaterAgreement:
    """Agreement between raters of one battle; verdicts are nominal categories, a skip is a missing value.

    Krippendorff's alpha by the coincidence matrix (Krippendorff, Content Analysis, 2004, section 11.3).
    """
    by_battle: defaultdict[str, list[str]] = defaultdict(list)
    for vote in current:
        if vote.verdict != "skip":
            by_battle[vote.battle_id].append(vote.verdict)
    units = [verdicts for verdicts in by_battle.values() if len(verdicts) > 1]
    coincidences: defaultdict[tuple[str, str], float] = defaultdict(float)
    agreeing = compared = 0
    for verdicts in units:
        for first, second in permutations(verdicts, 2):
            coincidences[first, second] += 1 / (len(verdicts) - 1)
            agreeing += first == second
            compared += 1
    totals: defaultdict[str, float] = defaultdict(float)
    for (first, _), weight in coincidences.items():
        totals[first] += weight
    values = sum(totals.values())
    expected = sum(totals[a] * totals[b] for a, b in permutations(totals, 2))
    observed = sum(weight for (first, second), weight in coincidences.items() if first != second)
    alpha = 1 - (values - 1) * observed / expected if expected else None
    # Each pair of raters was seen in both orders.
    return RaterAgreement(battles=len(units), agreeing=wilson(agreeing // 2, compared // 2), alpha=alpha)


def wilson(successes: int, trials: int, confidence: float = 0.95) -> Proportion:
    """A proportion with its Wilson score interval; (0, 1) without trials."""
    if trials == 0:
        return Proportion(successes=0, trials=0, estimate=None, low=0.0, high=1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    margin = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    return Proportion(
        successes=successes,
        trials=trials,
        estimate=share,
        low=max(0.0, centre - margin),
        high=min(1.0, centre + margin),
    )


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))
