"""Which arms a training stage must pass, and against whom."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from llmops_assets.evaluation.arms import Contest, IncomparableScores, preference_accuracy
from llmops_assets.evaluation.scores import AdapterScores, QuestionScore
from llmops_assets.evaluation.specs import GatePolicy
from llmops_assets.evaluation.verdict import GateArm, Limits

GateStage = Literal["cpt", "sft", "dpo"]


@dataclass(frozen=True)
class GateEvidence:
    """The scores that a gate weighs, under the roles that their adapters play. `labels` names them by sha256 or base.

    `reference` and `beta` belong to DPO: the frozen parent, and the strength of the tie to it.
    """

    candidate: AdapterScores
    parent: AdapterScores | None
    base: AdapterScores
    champion: AdapterScores | None
    reference: AdapterScores | None
    beta: float | None
    labels: dict[str, str]
    policy: GatePolicy

    def label(self, scores: AdapterScores) -> str:
        """The name of an adapter in sentences and columns; two adapters under one label are told apart by their sha."""
        label = self.labels.get(scores.name, scores.name[:12])
        roles = (self.candidate, self.parent, self.base, self.champion, self.reference)
        others = {other.name for other in roles if other is not None} - {scores.name}
        shared = any(self.labels.get(other, other[:12]) == label for other in others)
        return f"{label} ({scores.name[:8]})" if shared else label

    def against(self, baseline: AdapterScores) -> Contest:
        """The candidate measured against `baseline`."""
        return Contest(self.candidate, baseline, self.label(self.candidate), self.label(baseline), self.policy)


def baseline_of(stage: GateStage, evidence: GateEvidence) -> AdapterScores:
    """Who a stage's candidate must beat or equal: CPT the base, SFT its parent, DPO the champion, else the parent."""
    if stage == "cpt":
        return evidence.base
    before = evidence.parent or evidence.base
    return evidence.champion or before if stage == "dpo" else before


def stage_arms(stage: GateStage, evidence: GateEvidence) -> list[GateArm]:
    """All arms of a stage; every one must pass. Raises IncomparableScores if a measurement is missing."""
    return _GATES[stage](evidence)


def _cpt_arms(evidence: GateEvidence) -> list[GateArm]:
    contest = evidence.against(evidence.base)
    name, base = contest.candidate_label, contest.baseline_label
    return [
        contest.perplexity_arm("heldout_perplexity", f"Is {name}'s held-out perplexity lower than that of {base}?", 1.0)
    ]


def _sft_arms(evidence: GateEvidence) -> list[GateArm]:
    contest = evidence.against(baseline_of("sft", evidence))
    name, parent, policy = contest.candidate_label, contest.baseline_label, evidence.policy
    arms = [
        contest.text_arm(
            "rouge_l", f"Are {name}'s answers nearer to the references than those of {parent}?", _rouge_l, 0
        ),
        contest.length_arm(
            "answer_length", f"Are {name}'s answers about as long as the references?", against_references=True
        ),
        *_forgetting_arms(contest, policy.sft_perplexity_ratio),
    ]
    champion = evidence.champion
    if champion is not None and champion.name not in (evidence.candidate.name, contest.baseline.name):
        arms.append(_not_worse_rouge_l(evidence.against(champion), "rouge_l_against_champion"))
    return arms


def _dpo_arms(evidence: GateEvidence) -> list[GateArm]:
    contest = evidence.against(baseline_of("dpo", evidence))
    name, baseline, policy = contest.candidate_label, contest.baseline_label, evidence.policy
    return [
        _preference_arm(evidence),
        _not_worse_rouge_l(contest, "rouge_l"),
        contest.text_arm(
            "exact_match",
            f"Does {name} match at most {policy.exact_match_margin:g} fewer references exactly than {baseline}?",
            lambda row: row.exact_match,
            -policy.exact_match_margin,
            binary=True,
        ),
        *_forgetting_arms(contest, policy.perplexity_ratio),
        contest.length_arm(
            "answer_length", f"Are {name}'s answers about as long as those of {baseline}?", against_references=False
        ),
    ]


def _forgetting_arms(contest: Contest, highest_ratio: float) -> list[GateArm]:
    """The arm on raw text. A lane without a corpus has no held-out documents, and so no such arm."""
    if not contest.candidate.documents and not contest.baseline.documents:
        return []
    question = (
        f"Does {contest.candidate_label} still model raw text, with at most {highest_ratio:g} times the perplexity of "
        f"{contest.baseline_label}?"
    )
    return [contest.perplexity_arm("forgetting", question, highest_ratio)]


def _preference_arm(evidence: GateEvidence) -> GateArm:
    candidate, reference, policy = evidence.candidate, evidence.reference, evidence.policy
    if reference is None or evidence.beta is None:
        raise IncomparableScores(
            "a DPO gate needs the scores of the reference policy, and beta; measure the frozen parent adapter"
        )
    accuracy, _ = preference_accuracy(candidate, reference, evidence.beta, policy.confidence)
    return GateArm.from_interval(
        "preference_accuracy",
        f"Does {evidence.label(candidate)} prefer the answers that people chose, relative to "
        f"{evidence.label(reference)}, on held-out pairs?",
        accuracy,
        Limits(low=policy.preference_accuracy),
        n=accuracy.n,
        policy=policy,
    )


def _not_worse_rouge_l(contest: Contest, name: str) -> GateArm:
    margin = contest.policy.rouge_l_margin
    question = (
        f"Does {contest.candidate_label} lose at most {margin:g} ROUGE-L against {contest.baseline_label}, answering "
        "the same questions?"
    )
    return contest.text_arm(name, question, _rouge_l, -margin)


def _rouge_l(row: QuestionScore) -> float:
    return row.rouge_l


_GATES: dict[GateStage, Callable[[GateEvidence], list[GateArm]]] = {
    "cpt": _cpt_arms,
    "sft": _sft_arms,
    "dpo": _dpo_arms,
}
