"""What a distillation achieved: how much of the way from the student before to its teacher was gone."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from llmops_assets.errors import LlmopsError
from llmops_assets.evaluation.scores import AdapterScores, QuestionScore
from llmops_assets.evaluation.statistics import paired_difference, ratio_of_sums
from llmops_assets.evaluation.token_agreement import RowDistance, TokenDistances

_TEXT_METRICS: dict[str, Callable[[QuestionScore], float]] = {
    "ROUGE-L": lambda row: row.rouge_l,
    "token Jaccard": lambda row: row.jaccard,
    "exact match": lambda row: row.exact_match,
}


class UnpairedScores(LlmopsError):
    """Student and teacher were not measured on the same rows."""


@dataclass(frozen=True)
class PairedScores:
    """One metric of the same held-out examples: student before and after, teacher; `groups` are resampled together."""

    metric: str
    before: Sequence[float]
    after: Sequence[float]
    teacher: Sequence[float]
    groups: Sequence[str]


class GapClosed(BaseModel):
    """(S - B) / (T - B): 0 is the student before, 1 is the teacher. Metrics that fall as they improve do as well."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str
    before: float = Field(description="B: mean of the student before.")
    after: float = Field(description="S: mean of the student after.")
    teacher: float = Field(description="T: mean of the teacher.")
    gap_low: float | None = Field(description="Interval of T - B; None for a single group of examples.")
    gap_high: float | None
    closed: float | None = Field(description="None if T - B cannot be told from 0.")
    low: float | None
    high: float | None
    examples: int
    groups: int
    finding: str


class TokenLevel(BaseModel):
    """Student and teacher at the answer tokens of held-out rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: int
    agreement_before: float = Field(description="Share of tokens at which both find the same token likeliest.")
    agreement_after: float
    agreement_gain_low: float | None = Field(description="Interval of the gain, over rows; None for a single row.")
    agreement_gain_high: float | None
    kl_before: float = Field(description="Mean KL(teacher || student) in nats per token.")
    kl_after: float
    kl_change_low: float | None
    kl_change_high: float | None


class DistillationReport(BaseModel):
    """A student against its teacher, on rows that it was not trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    teacher: str = Field(description="Digest of the teacher.")
    student_before: str | None = Field(description="sha256 of the adapter before; None for the base.")
    student_after: str | None
    confidence: float
    gaps: list[GapClosed]
    tokens: TokenLevel | None


def gap_closed(scores: PairedScores, *, confidence: float, seed: int) -> GapClosed:
    """Return how much of the teacher's lead the student has made up, with a paired bootstrap interval over groups.

    The interval resamples examples with all three scores of each together. A ratio is given only where the interval of
    T - B excludes 0: next to 0 it would be of any size and either sign (Fieller 1954).

    Raises UnpairedScores if the lengths differ or there are no examples.
    """
    _require_pairs(scores)
    n = len(scores.groups)
    before, after, teacher = (math.fsum(part) / n for part in (scores.before, scores.after, scores.teacher))
    gap = paired_difference(scores.teacher, scores.before, scores.groups, confidence=confidence, seed=seed)
    certain = gap is not None and (gap.low > 0 or gap.high < 0)
    ratio = None
    if certain:
        made_up = [new - old for new, old in zip(scores.after, scores.before, strict=True)]
        lead = [new - old for new, old in zip(scores.teacher, scores.before, strict=True)]
        ratio = ratio_of_sums(made_up, lead, scores.groups, confidence=confidence, seed=seed)
    return GapClosed(
        metric=scores.metric,
        before=before,
        after=after,
        teacher=teacher,
        gap_low=gap.low if gap else None,
        gap_high=gap.high if gap else None,
        closed=ratio.estimate if ratio else None,
        low=ratio.low if ratio else None,
        high=ratio.high if ratio else None,
        examples=n,
        groups=len(set(scores.groups)),
        finding=_finding(teacher - before, certain, ratio.low if ratio else None, ratio.high if ratio else None),
    )


def answer_gaps(
    before: AdapterScores, after: AdapterScores, teacher: AdapterScores, *, confidence: float, seed: int
) -> list[GapClosed]:
    """Return the gap closed by each text metric, on the held-out questions that all three have answered.

    Raises UnpairedScores if there is no such question.
    """
    by_id = [{row.id: row for row in scores.questions} for scores in (before, after, teacher)]
    shared = [row for row in before.questions if all(row.id in rows for rows in by_id)]
    gaps = []
    for metric, score in _TEXT_METRICS.items():
        old, new, best = ([score(rows[row.id]) for row in shared] for rows in by_id)
        paired = PairedScores(metric, old, new, best, [row.group for row in shared])
        gaps.append(gap_closed(paired, confidence=confidence, seed=seed))
    return gaps


def token_level(before: TokenDistances, after: TokenDistances, *, confidence: float, seed: int) -> TokenLevel:
    """Compare two students' distances to one teacher on the same rows; tokens of a row are resampled together.

    Raises UnpairedScores if the rows are not the same, or hold no answer token.
    """
    pairs = list(zip(before.rows, after.rows, strict=False))
    same = len(before.rows) == len(after.rows) and all(old.tokens == new.tokens for old, new in pairs)
    tokens = sum(row.tokens for row in before.rows)
    if not same or not tokens:
        raise UnpairedScores(
            f"{len(before.rows)} rows with {tokens} answer tokens before, {len(after.rows)} rows with "
            f"{sum(row.tokens for row in after.rows)} after; measure both students on the same held-out rows"
        )
    used = [(old, new) for old, new in pairs if old.tokens]
    gain = _per_token([new.agreed - old.agreed for old, new in used], used, confidence, seed)
    change = _per_token([new.kl - old.kl for old, new in used], used, confidence, seed)
    return TokenLevel(
        tokens=tokens,
        agreement_before=sum(row.agreed for row in before.rows) / tokens,
        agreement_after=sum(row.agreed for row in after.rows) / tokens,
        agreement_gain_low=gain[0],
        agreement_gain_high=gain[1],
        kl_before=math.fsum(row.kl for row in before.rows) / tokens,
        kl_after=math.fsum(row.kl for row in after.rows) / tokens,
        kl_change_low=change[0],
        kl_change_high=change[1],
    )


def distillation_markdown(report: DistillationReport) -> str:
    """Return the report as Markdown for an asset's page."""
    level = f"{report.confidence:.0%}"
    lines = [
        f"Teacher `{report.teacher[:12]}`, student `{_name(report.student_before)}` before and "
        f"`{_name(report.student_after)}` after.",
        "",
        f"| metric | before B | after S | teacher T | gap closed (S-B)/(T-B) | {level} interval | n | finding |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for gap in report.gaps:
        closed = "-" if gap.closed is None else f"{gap.closed:.0%}"
        figures = f"{gap.before:.4g} | {gap.after:.4g} | {gap.teacher:.4g}"
        interval = _interval(gap.low, gap.high, ".0%")
        lines.append(f"| {gap.metric} | {figures} | {closed} | {interval} | {gap.examples} | {gap.finding} |")
    if (tokens := report.tokens) is not None:
        gain = _interval(tokens.agreement_gain_low, tokens.agreement_gain_high, ".1%")
        change = _interval(tokens.kl_change_low, tokens.kl_change_high, ".4f")
        lines += [
            "",
            f"| {tokens.tokens:,} answer tokens | before | after | {level} interval of the change |",
            "| --- | --- | --- | --- |",
            f"| same token as the teacher | {tokens.agreement_before:.1%} | {tokens.agreement_after:.1%} | {gain} |",
            f"| KL(teacher, student), nats per token | {tokens.kl_before:.4f} | {tokens.kl_after:.4f} | {change} |",
        ]
    return "\n".join(lines)


def _require_pairs(scores: PairedScores) -> None:
    sizes = {
        "before": len(scores.before),
        "after": len(scores.after),
        "teacher": len(scores.teacher),
        "groups": len(scores.groups),
    }
    if len(set(sizes.values())) != 1 or not scores.groups:
        counts = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise UnpairedScores(f"{scores.metric}: {counts}; score student and teacher on the same held-out rows")


def _finding(lead: float, certain: bool, low: float | None, high: float | None) -> str:
    if not certain:
        return (
            f"T - B = {lead:.4g} cannot be told from 0 on these examples: there is no gap to close; "
            "add held-out examples, or choose a stronger teacher"
        )
    if low is None or high is None:
        return "one group of examples gives no interval"
    if low > 1:
        return "the student has passed its teacher"
    if low > 0:
        return "part of the gap is closed" if high < 1 else "the gap is closed as far as these examples can tell"
    if high < 0:
        return "the student has moved away from its teacher"
    return "no progress can be told from chance"


def _per_token(
    sums: Sequence[float], rows: Sequence[tuple[RowDistance, RowDistance]], confidence: float, seed: int
) -> tuple[float | None, float | None]:
    interval = ratio_of_sums(
        sums,
        [old.tokens for old, _ in rows],
        [str(index) for index in range(len(rows))],
        confidence=confidence,
        seed=seed,
    )
    return (None, None) if interval is None else (interval.low, interval.high)


def _interval(low: float | None, high: float | None, style: str) -> str:
    return "-" if low is None or high is None else f"[{low:{style}}, {high:{style}}]"


def _name(sha256: str | None) -> str:
    return "the base" if sha256 is None else sha256[:12]
