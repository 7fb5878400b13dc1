"""The questions that a gate asks of a challenger, each answered from two sets of paired scores."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from llmops_assets.errors import LlmopsError
from llmops_assets.evaluation.scores import AdapterScores, DocumentScore, PairScore, QuestionScore, preferred
from llmops_assets.evaluation.specs import GatePolicy
from llmops_assets.evaluation.statistics import (
    Interval,
    paired_binary_difference,
    paired_difference,
    proportion,
    ratio_of_sums,
)
from llmops_assets.evaluation.verdict import GateArm, Limits


class IncomparableScores(LlmopsError):
    """Two sets of scores were not measured on the same examples, or lack what a gate asks for."""


Scored = TypeVar("Scored", DocumentScore, QuestionScore, PairScore)


@dataclass(frozen=True)
class Contest:
    """A candidate and the baseline that it is measured against, with their labels."""

    candidate: AdapterScores
    baseline: AdapterScores
    candidate_label: str
    baseline_label: str
    policy: GatePolicy

    @property
    def seed(self) -> int:
        return self.candidate.settings.seed

    def perplexity_arm(self, name: str, question: str, highest_ratio: float) -> GateArm:
        """Ratio of token-weighted held-out perplexities: exp of the mean change in nats per token."""
        interval = self.perplexity_ratio()
        return self._arm(name, question, interval, Limits(high=highest_ratio), len(self.candidate.documents))

    def perplexity_ratio(self) -> Interval | None:
        """Candidate's held-out perplexity over the baseline's. Raises IncomparableScores on unlike tokenizers."""
        rows = paired(self.candidate.documents, self.baseline.documents, "held-out documents")
        for new, old in rows:
            if new.tokens != old.tokens:
                raise IncomparableScores(
                    f"document {new.id}: {new.tokens} tokens for {self.candidate_label}, {old.tokens} for "
                    f"{self.baseline_label}; perplexities of different tokenizers cannot be compared"
                )
        change = ratio_of_sums(
            [new.nll - old.nll for new, old in rows],
            [new.tokens for new, _ in rows],
            [new.group for new, _ in rows],
            confidence=self.policy.confidence,
            seed=self.seed,
        )
        if change is None:
            return None
        ratio = math.exp(change.estimate)
        return Interval(
            ratio, math.exp(change.low), math.exp(change.high), change.n, change.clusters, change.spread * ratio
        )

    def text_arm(
        self, name: str, question: str, score: Callable[[QuestionScore], float], lowest: float, *, binary: bool = False
    ) -> GateArm:
        """Mean paired difference of a text metric, candidate - baseline, against the lowest acceptable one."""
        rows = paired(self.candidate.questions, self.baseline.questions, "held-out questions")
        difference = paired_binary_difference if binary else paired_difference
        interval = difference(
            [score(new) for new, _ in rows],
            [score(old) for _, old in rows],
            [new.group for new, _ in rows],
            confidence=self.policy.confidence,
            seed=self.seed,
        )
        return self._arm(name, question, interval, Limits(low=lowest), len(rows))

    def length_arm(self, name: str, question: str, *, against_references: bool) -> GateArm:
        """Ratio of mean answer lengths, each counted with its end of turn, so that an empty answer has a length."""
        rows = paired(self.candidate.questions, self.baseline.questions, "held-out questions")
        interval = ratio_of_sums(
            [new.answer_tokens + 1 for new, _ in rows],
            [(new.reference_tokens if against_references else old.answer_tokens) + 1 for new, old in rows],
            [new.group for new, _ in rows],
            confidence=self.policy.confidence,
            seed=self.seed,
        )
        limits = Limits(low=1 / self.policy.length_ratio, high=self.policy.length_ratio)
        return self._arm(name, question, interval, limits, len(rows))

    def _arm(self, name: str, question: str, interval: Interval | None, limits: Limits, n: int) -> GateArm:
        return GateArm.from_interval(name, question, interval, limits, n=n, policy=self.policy)


def implicit_reward_margins(policy: AdapterScores, reference: AdapterScores, beta: float) -> list[float]:
    """DPO's implicit reward of the chosen answer minus that of the rejected one, per pair, in nats.

    beta * [(log p - log p_ref)(chosen) - (log p - log p_ref)(rejected)]: Rafailov et al. 2023, equation 5.
    """
    return [
        beta * ((new.logp_chosen - old.logp_chosen) - (new.logp_rejected - old.logp_rejected))
        for new, old in paired(policy.preferences, reference.preferences, "preference pairs")
    ]


def preference_accuracy(
    policy: AdapterScores, reference: AdapterScores, beta: float, confidence: float
) -> tuple[Interval, Interval | None]:
    """Share of pairs with a positive implicit reward margin (ties one half), and the mean margin."""
    margins = implicit_reward_margins(policy, reference, beta)
    groups = [row.group for row in policy.preferences]
    return (
        proportion([preferred(margin) for margin in margins], groups, confidence),
        ratio_of_sums(margins, [1.0] * len(margins), groups, confidence=confidence, seed=policy.settings.seed),
    )


def paired(candidate: Sequence[Scored], baseline: Sequence[Scored], what: str) -> list[tuple[Scored, Scored]]:
    """Rows of both sides joined by id, in the candidate's order. Raises IncomparableScores if any lacks its partner."""
    if not candidate:
        raise IncomparableScores(f"no {what} were measured; this gate needs them, set the file in the evaluation job")
    partners = {row.id: row for row in baseline}
    missing = [row.id for row in candidate if row.id not in partners]
    if missing or len(partners) != len(candidate):
        example = missing[0] if missing else next(iter(partners.keys() - {row.id for row in candidate}))
        raise IncomparableScores(
            f"{len(candidate)} {what} of the candidate, {len(partners)} of its baseline, unpaired: {example}; measure "
            "both on the same file with the same settings"
        )
    return [(row, partners[row.id]) for row in candidate]
