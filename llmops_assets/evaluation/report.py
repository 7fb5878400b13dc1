"""An evaluation report: what was measured of whom, what the gate asked, and what it decided."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from llmops_assets.evaluation.arms import IncomparableScores, preference_accuracy
from llmops_assets.evaluation.gates import GateEvidence, GateStage, baseline_of, stage_arms
from llmops_assets.evaluation.leakage import LeakEvidence, leak_arm
from llmops_assets.evaluation.scores import AdapterScores
from llmops_assets.evaluation.specs import EvaluationSpec, GatePolicy
from llmops_assets.evaluation.verdict import GateArm, Verdict

Role = Literal["base", "parent", "champion", "reference", "candidate"]


class PreferenceMetrics(BaseModel):
    """Held-out preference figures of one subject relative to the reference policy."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pairs: int
    accuracy: float = Field(description="Share of pairs with a positive implicit reward margin; ties count one half.")
    low: float
    high: float
    reward_margin: float | None = Field(description="Mean implicit reward margin in nats, with its interval.")
    reward_margin_low: float | None
    reward_margin_high: float | None


class SubjectMetrics(BaseModel):
    """Figures of one adapter, or of the base. None where the measurement was left out. Lower perplexity is better."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    sha256: str | None = Field(description="None for the base alone.")
    roles: list[Role]
    perplexity: float | None
    bits_per_byte: float | None
    exact_match: float | None
    jaccard: float | None
    rouge1: float | None
    rouge2: float | None
    rouge_l: float | None
    bleu: float | None = Field(description="Mean sentence BLEU / 100.")
    corpus_bleu: float | None
    answer_tokens: float | None = Field(description="Mean length of the answers.")
    finished: float | None = Field(description="Share of answers that ended by themselves.")
    likelihood_accuracy: float | None
    preference: PreferenceMetrics | None


class EvalReport(BaseModel):
    """The evidence behind one decision. Two reports of equal inputs are equal."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    stage: GateStage
    candidate: str = Field(description="Label of the candidate.")
    candidate_sha256: str
    baseline: str = Field(description="Label of what the candidate had to beat or equal.")
    baseline_sha256: str | None
    parent_sha256: str | None
    champion_sha256: str | None = Field(description="The champion compared against; None if there was none.")
    reference_sha256: str | None
    beta: float | None
    base_digest: str
    device: str
    settings: EvaluationSpec
    policy: GatePolicy
    inputs: dict[str, str]
    skipped: int = Field(description="Rows of the candidate that could not be measured.")
    subjects: list[SubjectMetrics]
    arms: list[GateArm]
    training_leaks: LeakEvidence | None = Field(default=None, description="None for a lane without eval sets.")
    verdict: Verdict
    summary: str

    def subject(self, role: Role) -> SubjectMetrics | None:
        """Figures of whoever plays `role`; None if nobody does."""
        return next((subject for subject in self.subjects if role in subject.roles), None)


def build_report(
    *,
    stage: GateStage,
    candidate: AdapterScores,
    parent: AdapterScores | None,
    base: AdapterScores,
    champion: AdapterScores | None,
    reference: AdapterScores | None,
    beta: float | None,
    policy: GatePolicy,
    labels: dict[str, str],
    training_leaks: LeakEvidence | None = None,
) -> EvalReport:
    """Weigh a candidate. `labels` names adapters by sha256, and the base by "base".

    `parent` None means that the candidate began on the base. `reference` and `beta` belong to DPO: the frozen parent
    and the strength of the tie to it. `training_leaks` is what was found in the training sets of the candidate and its
    ancestors. Raises IncomparableScores if the scores were not measured alike or lack what the stage's gate asks for.
    """
    if candidate.adapter_sha256 is None:
        raise IncomparableScores("the candidate's scores are those of the base alone; a gate weighs an adapter")
    evidence = GateEvidence(candidate, parent, base, champion, reference, beta, labels, policy)
    roles: list[tuple[Role, AdapterScores | None]] = [
        ("base", base),
        ("parent", parent),
        ("champion", champion),
        ("reference", reference),
        ("candidate", candidate),
    ]
    for role, scores in roles:
        if scores is not None:
            _check_alike(candidate, scores, role)
    arms = stage_arms(stage, evidence)
    if training_leaks is not None:
        arms.append(leak_arm(evidence.label(candidate), training_leaks))
    verdict = Verdict.all_of(arm.verdict for arm in arms)
    baseline = baseline_of(stage, evidence)
    return EvalReport(
        stage=stage,
        candidate=evidence.label(candidate),
        candidate_sha256=candidate.adapter_sha256,
        baseline=evidence.label(baseline),
        baseline_sha256=baseline.adapter_sha256,
        parent_sha256=parent.adapter_sha256 if parent else None,
        champion_sha256=champion.adapter_sha256 if champion else None,
        reference_sha256=reference.adapter_sha256 if reference else None,
        beta=beta,
        base_digest=candidate.base_digest,
        device=candidate.device,
        settings=candidate.settings,
        policy=policy,
        inputs=candidate.inputs,
        skipped=len(candidate.skipped),
        subjects=_subjects(roles, evidence),
        arms=arms,
        training_leaks=training_leaks,
        verdict=verdict,
        summary=_summary(evidence.label(candidate), evidence.label(baseline), arms, verdict),
    )


def _check_alike(candidate: AdapterScores, other: AdapterScores, role: Role) -> None:
    for what, mine, theirs in (
        ("settings", candidate.settings, other.settings),
        ("input files", candidate.inputs, other.inputs),
        ("device", candidate.device, other.device),
    ):
        if mine != theirs:
            raise IncomparableScores(
                f"the candidate and the {role} ({other.name[:12]}) were measured with different {what}: {mine} and "
                f"{theirs}; measure both again under the same ones"
            )


def _subjects(roles: Sequence[tuple[Role, AdapterScores | None]], evidence: GateEvidence) -> list[SubjectMetrics]:
    played: dict[str, list[Role]] = {}
    scores_by_name: dict[str, AdapterScores] = {}
    for role, scores in roles:
        if scores is not None:
            played.setdefault(scores.name, []).append(role)
            scores_by_name[scores.name] = scores
    return [_metrics(scores_by_name[name], names, evidence) for name, names in played.items()]


def _metrics(scores: AdapterScores, roles: list[Role], evidence: GateEvidence) -> SubjectMetrics:
    return SubjectMetrics(
        label=evidence.label(scores),
        sha256=scores.adapter_sha256,
        roles=roles,
        perplexity=scores.perplexity,
        bits_per_byte=scores.bits_per_byte,
        exact_match=scores.question_mean(lambda row: row.exact_match),
        jaccard=scores.question_mean(lambda row: row.jaccard),
        rouge1=scores.question_mean(lambda row: row.rouge1),
        rouge2=scores.question_mean(lambda row: row.rouge2),
        rouge_l=scores.question_mean(lambda row: row.rouge_l),
        bleu=scores.question_mean(lambda row: row.bleu),
        corpus_bleu=scores.corpus_bleu,
        answer_tokens=scores.question_mean(lambda row: row.answer_tokens),
        finished=scores.question_mean(lambda row: row.finished),
        likelihood_accuracy=scores.likelihood_accuracy,
        preference=_preference(scores, evidence),
    )


def _preference(scores: AdapterScores, evidence: GateEvidence) -> PreferenceMetrics | None:
    if evidence.reference is None or evidence.beta is None or not scores.preferences:
        return None
    accuracy, margin = preference_accuracy(scores, evidence.reference, evidence.beta, evidence.policy.confidence)
    return PreferenceMetrics(
        pairs=accuracy.n,
        accuracy=accuracy.estimate,
        low=accuracy.low,
        high=accuracy.high,
        reward_margin=margin.estimate if margin else None,
        reward_margin_low=margin.low if margin else None,
        reward_margin_high=margin.high if margin else None,
    )


def _summary(candidate: str, baseline: str, arms: Sequence[GateArm], verdict: Verdict) -> str:
    if verdict is Verdict.PASS:
        return f"{candidate} passes all {len(arms)} arms against {baseline}."
    decisive = [arm for arm in arms if arm.verdict is verdict]
    found = "; ".join(_finding(arm) for arm in decisive)
    if verdict is Verdict.FAIL:
        return f"{candidate} fails {len(decisive)} of {len(arms)} arms against {baseline}: {found}."
    return f"{candidate} leaves {len(decisive)} of {len(arms)} arms undecided against {baseline}: {found}."


def _finding(arm: GateArm) -> str:
    if arm.estimate is None:
        return f"{arm.name} {arm.needs}"
    figure = f"{arm.name} is {arm.estimate:.4g} [{arm.low:.4g}, {arm.high:.4g}], wanted {arm.limits}"
    return f"{figure}, {arm.needs}" if arm.needs else figure
