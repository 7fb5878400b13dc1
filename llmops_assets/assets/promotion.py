"""Whether a challenger becomes champion: a pure decision over the reports, with its reason."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from llmops_assets.errors import LlmopsError


class Champion(BaseModel):
    """The adapter that is served, and the report that put it there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    asset: str
    fingerprint: str
    adapter_sha256: str
    label: str
    report_asset: str
    report_fingerprint: str


@dataclass(frozen=True)
class Challenger:
    """A candidate with the verdict of its newest report.

    `compared_with` is the sha256 of the adapter that the report measured against: the champion of that time.
    """

    candidate: Champion
    verdict: str
    reason: str
    compared_with: str


@dataclass(frozen=True)
class Promotion:
    """What the champion is after the decision, whether it moved, and why, as a sentence."""

    champion: Champion
    moved: bool
    reason: str


class NoChampion(LlmopsError):
    """No adapter has ever passed its gate, so there is nothing to serve."""


def decide_promotion(
    current: Champion | None, challengers: Sequence[Challenger], *, ancestors: frozenset[str] = frozenset()
) -> Promotion:
    """Decide over `challengers`, newest report first; `ancestors` are the sha256s that the champion was trained from.

    Only the newest report counts: an older PASS is not dug up after a newer FAIL. A report that was made against
    another champion than today's proves nothing about today's and does not promote. INCONCLUSIVE never promotes.

    Raises:
        NoChampion: there is no champion yet and the newest report does not pass.
    """
    if not challengers:
        if current is None:
            raise NoChampion("there is no evaluation report yet; materialize an adapter and its report first")
        return Promotion(current, moved=False, reason="no report to decide on; the champion stays")
    newest = challengers[0]
    label = newest.candidate.label
    if current is not None and newest.candidate.adapter_sha256 == current.adapter_sha256:
        return Promotion(current, moved=False, reason=f"{label} is the champion already")
    if current is not None and newest.candidate.adapter_sha256 in ancestors:
        reason = f"{label} is an ancestor of the champion {current.label}; going back is a rollback, not a promotion"
        return Promotion(current, moved=False, reason=reason)
    if newest.verdict != "PASS":
        reason = f"{label} is not promoted: its report says {newest.verdict}. {newest.reason}"
        if current is None:
            raise NoChampion(f"{reason} No champion exists yet")
        return Promotion(current, moved=False, reason=f"{reason} {current.label} stays champion")
    if current is not None and newest.compared_with != current.adapter_sha256:
        return Promotion(
            current,
            moved=False,
            reason=f"{label} passed against another champion than {current.label}; materialize its report again",
        )
    before = f" replaces {current.label}" if current is not None else " is the first champion"
    return Promotion(newest.candidate, moved=True, reason=f"{label}{before}: {newest.reason}")
