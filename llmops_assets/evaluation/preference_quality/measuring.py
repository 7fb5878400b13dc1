"""From votes and pairs to the figures of the preference report."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from llmops_assets.evaluation.preference_quality.agreement import rater_agreement
from llmops_assets.evaluation.preference_quality.bias import adjusted_bias, left_share, longer_share
from llmops_assets.evaluation.preference_quality.coverage import Question, prompt_figures
from llmops_assets.evaluation.preference_quality.figures import (
    DataSetFigures,
    PreferenceFigures,
    RaterFigures,
    Share,
    VersionPairFigures,
)
from llmops_assets.feedback.ballots import CastVote, Exclusion
from llmops_assets.feedback.evidence import VoteEvidence
from llmops_assets.feedback.specs import VoteQualitySpec

_CONTRADICTED = (Exclusion.CONTRADICTORY, Exclusion.CONFLICTING, Exclusion.OUTVOTED)


@dataclass(frozen=True)
class SetContent:
    """What a preference set took.

    Attributes:
        vote_ids: The votes that stand for its pairs.
        left_out: Why other votes do not, by vote id.
        data_sets: Figures of its data sets.
        data_set_prompts: `prompt_hash` of their prompts.
    """

    vote_ids: Collection[str]
    left_out: dict[str, str]
    data_sets: Sequence[DataSetFigures] = ()
    data_set_prompts: Collection[str] = ()


def measure_preferences(
    evidence: VoteEvidence, content: SetContent, limits: VoteQualitySpec, domain: Sequence[Question] | None
) -> PreferenceFigures:
    """Measure the votes of `evidence` and what the set took of them.

    Biases and raters are those of people, services and judges; of simulated votes only where there are no others.
    """
    basis, level = evidence.basis, limits.confidence
    decisive = [vote for vote in basis if vote.chosen_side]
    reasons = Counter(content.left_out.values())
    contradicted = sum(content.left_out.get(vote.vote_id) in _CONTRADICTED for vote in decisive)
    judged = [vote for vote in basis if vote.verdict != "skip"]
    battles = {vote.battle_id for vote in evidence.heard if vote.verdict != "skip"}
    leaking = [evidence.leaks[battle] for battle in sorted(battles & evidence.leaks.keys())]
    pairs = [vote for vote in evidence.votes if vote.vote_id in content.vote_ids]
    return PreferenceFigures(
        deployment=evidence.deployment,
        through_seq=evidence.through_seq,
        votes=len(evidence.votes),
        heard=len(evidence.heard),
        simulated=any(vote.rater_kind == "simulated" for vote in basis),
        by_verdict=dict(sorted(Counter(vote.verdict for vote in evidence.heard).items())),
        by_rater_kind=dict(sorted(Counter(vote.rater_kind for vote in evidence.heard).items())),
        by_month=evidence.months,
        left_out=dict(sorted(reasons.items())),
        pairs=len(pairs),
        contradictions=Share.counted(contradicted, len(decisive), level),
        both_bad=Share.counted(sum(vote.verdict == "both_bad" for vote in judged), len(judged), level),
        leaks=Share.counted(len(leaking), len(battles), level),
        leaked_names=dict(sorted(Counter(name for names in leaking for name in names).items())),
        agreement=rater_agreement(basis, confidence=level, seed=limits.seed),
        left=left_share(basis, level),
        longer=longer_share(basis, level),
        adjusted=adjusted_bias(basis, level),
        raters=_raters(basis, pairs, level),
        version_pairs=_version_pairs(evidence),
        pair_prompts=len({vote.prompt_hash for vote in pairs}.union(content.data_set_prompts)),
        prompts=prompt_figures(evidence.heard, evidence.prompts, domain),
        data_sets=list(content.data_sets),
    )


def _raters(basis: Sequence[CastVote], pairs: Sequence[CastVote], level: float) -> list[RaterFigures]:
    """One entry per rater, most pairs first."""
    votes: dict[str, list[CastVote]] = {}
    for vote in basis:
        votes.setdefault(vote.rater_id, []).append(vote)
    decided = Counter(vote.rater_id for vote in pairs if vote.rater_id in votes)
    figures = [
        RaterFigures(
            rater=rater,
            kind=own[0].rater_kind,
            votes=len(own),
            left=left_share(own, level),
            longer=longer_share(own, level),
            pairs=decided[rater],
            share_of_pairs=decided[rater] / decided.total() if decided else None,
        )
        for rater, own in votes.items()
    ]
    return sorted(figures, key=lambda rater: (-rater.pairs, -rater.votes, rater.rater))


def _version_pairs(evidence: VoteEvidence) -> list[VersionPairFigures]:
    grouped: dict[str, list[CastVote]] = {}
    for vote in evidence.heard:
        grouped.setdefault(evidence.version_pair(vote), []).append(vote)
    return [_version_pair(evidence, pair, votes) for pair, votes in sorted(grouped.items())]


def _version_pair(evidence: VoteEvidence, pair: str, votes: Sequence[CastVote]) -> VersionPairFigures:
    """Count one version pair. Of a version against itself there is no first one: its left answer stands for it."""
    verdicts = Counter(vote.verdict for vote in votes)
    first = sum(_first_won(evidence, vote) for vote in votes)
    raters = Counter(vote.rater_id for vote in votes)
    return VersionPairFigures(
        pair=pair,
        first=first,
        second=verdicts["left"] + verdicts["right"] - first,
        tie=verdicts["tie"],
        both_bad=verdicts["both_bad"],
        skip=verdicts["skip"],
        raters=len(raters),
        largest_rater_share=max(raters.values()) / len(votes),
    )


def _first_won(evidence: VoteEvidence, vote: CastVote) -> bool:
    left, right = (evidence.labels.get(sha, sha[:12]) for sha in (vote.version_left, vote.version_right))
    return vote.verdict == ("left" if left <= right else "right")
