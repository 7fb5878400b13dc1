"""The preference report: figures, and the findings that the recipe's limits make of them."""

from collections.abc import Sequence

from llmops_assets.evaluation.preference_quality.coverage import Question
from llmops_assets.evaluation.preference_quality.figures import Figures, PreferenceFigures
from llmops_assets.evaluation.preference_quality.limits import Finding, judge_preferences
from llmops_assets.evaluation.preference_quality.measuring import SetContent, measure_preferences
from llmops_assets.feedback.admission import admitted_pairs, identity_names, within_rater_share
from llmops_assets.feedback.evidence import VoteEvidence
from llmops_assets.feedback.specs import PreferenceSpec, VoteQualitySpec
from llmops_assets.feedback.store import FeedbackStore


class PreferenceReport(Figures):
    """What report.json holds."""

    figures: PreferenceFigures
    findings: list[Finding]


def preference_report(
    evidence: VoteEvidence, content: SetContent, limits: VoteQualitySpec, domain: Sequence[Question] | None = None
) -> PreferenceReport:
    """Measure and judge a preference set; without a `domain` nothing is said about what voters have not seen."""
    figures = measure_preferences(evidence, content, limits, domain)
    return PreferenceReport(figures=figures, findings=judge_preferences(figures, limits))


def report_on_votes(
    store: FeedbackStore, deployment: str, section: PreferenceSpec, base_model: str
) -> PreferenceReport:
    """Report on the votes alone, as a set that is made now would take them."""
    selection = within_rater_share(admitted_pairs(store, deployment, section, base_model), section.max_share_per_rater)
    through = selection.through_seq
    names = identity_names(store, deployment, section, base_model, through_seq=through)
    content = SetContent(
        vote_ids={pair.vote_id for pair in selection.pairs},
        left_out={vote.vote_id: vote.reason for vote in selection.left_out},
    )
    return preference_report(store.evidence(deployment, names, through_seq=through), content, section.quality)
