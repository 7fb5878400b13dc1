"""Reports for people: Markdown for an asset page, rows for a table, and the chain of versions as plain text."""

from collections.abc import Callable, Sequence

from llmops_assets.evaluation.report import EvalReport, SubjectMetrics
from llmops_assets.evaluation.verdict import GateArm, Verdict

_FIGURES: tuple[tuple[str, Callable[[SubjectMetrics], float | None]], ...] = (
    ("held-out perplexity (lower is better)", lambda subject: subject.perplexity),
    ("bits per byte (lower is better)", lambda subject: subject.bits_per_byte),
    ("exact match", lambda subject: subject.exact_match),
    ("token Jaccard", lambda subject: subject.jaccard),
    ("ROUGE-1", lambda subject: subject.rouge1),
    ("ROUGE-2", lambda subject: subject.rouge2),
    ("ROUGE-L", lambda subject: subject.rouge_l),
    ("BLEU, mean of sentences", lambda subject: subject.bleu),
    ("BLEU, corpus", lambda subject: subject.corpus_bleu),
    ("mean answer length in tokens", lambda subject: subject.answer_tokens),
    ("answers that end by themselves", lambda subject: subject.finished),
    ("chosen answer likelier per token", lambda subject: subject.likelihood_accuracy),
    (
        "preference accuracy against the reference",
        lambda subject: subject.preference.accuracy if subject.preference else None,
    ),
    (
        "implicit reward margin in nats",
        lambda subject: subject.preference.reward_margin if subject.preference else None,
    ),
)
_MARKS = {Verdict.PASS: "✅", Verdict.FAIL: "❌", Verdict.INCONCLUSIVE: "❔"}


def metrics_rows(report: EvalReport) -> list[dict[str, str | float]]:
    """One row per measured figure, one column per subject, as Dagster's table metadata takes it."""
    return [
        {"metric": title, **{subject.label: _rounded(figure(subject)) for subject in report.subjects}}
        for title, figure in _FIGURES
        if any(figure(subject) is not None for subject in report.subjects)
    ]


def report_table_markdown(report: EvalReport) -> str:
    """Verdict, arms and figures of one report as Markdown."""
    roles = {subject.label: ", ".join(subject.roles) for subject in report.subjects}
    figures = [[str(row["metric"]), *(str(row[label]) for label in roles)] for row in metrics_rows(report)]
    level = f"{report.policy.confidence:.0%}"
    return "\n\n".join(
        [
            f"**{report.verdict}** — {report.summary}",
            _markdown(
                ["", "question", "estimate", f"{level} interval", "wanted", "n", "what would resolve it"],
                [_arm_cells(arm) for arm in report.arms],
            ),
            _markdown(["figure", *(f"{label} ({role})" for label, role in roles.items())], figures),
        ]
    )


def chain_table(reports: Sequence[EvalReport], champion_sha256: str | None = None) -> str:
    """The base and then each report's candidate, one line each, as plain text with the champion marked.

    Preference accuracy is always relative to the reference policy of the last report that has one.
    Raises ValueError without reports.
    """
    if not reports:
        raise ValueError("a chain of versions needs at least one report")
    judged = next((report for report in reversed(reports) if report.reference_sha256), None)
    base = reports[0].subject("base")
    candidates = [(report.subject("candidate"), str(report.verdict)) for report in reports]
    lines = [
        _chain_cells(subject, verdict, judged, champion_sha256)
        for subject, verdict in [(base, "-"), *candidates]
        if subject is not None
    ]
    level = f"{reports[-1].policy.confidence:.0%}"
    header = ["version", "held-out perplexity", "ROUGE-L", f"preference accuracy [{level} CI]", "verdict", "champion"]
    table = _plain([header, *lines])
    reference = judged.subject("reference") if judged else None
    if reference is None:
        return table
    return (
        f"{table}\nPreference accuracy: share of held-out pairs whose chosen answer has the higher implicit reward of "
        f"DPO.\nIt is measured against {reference.label}, DPO's reference policy, whose own value is 0.5 by definition."
    )


def _chain_cells(
    subject: SubjectMetrics, verdict: str, judged: EvalReport | None, champion_sha256: str | None
) -> list[str]:
    return [
        subject.label,
        _number(subject.perplexity, 2),
        _number(subject.rouge_l, 3),
        _preference_cell(subject, judged),
        verdict,
        "*" if champion_sha256 is not None and subject.sha256 == champion_sha256 else "",
    ]


def _preference_cell(subject: SubjectMetrics, judged: EvalReport | None) -> str:
    same = next((other for other in judged.subjects if other.sha256 == subject.sha256), None) if judged else None
    if same is None or same.preference is None:
        return "-"
    if "reference" in same.roles:
        return f"{same.preference.accuracy:.3f} (reference)"
    return f"{same.preference.accuracy:.3f} [{same.preference.low:.3f}, {same.preference.high:.3f}]"


def _arm_cells(arm: GateArm) -> list[str]:
    interval = "-" if arm.low is None or arm.high is None else f"[{arm.low:.4g}, {arm.high:.4g}]"
    estimate = "-" if arm.estimate is None else f"{arm.estimate:.4g}"
    return [
        f"{_MARKS[arm.verdict]} {arm.name}",
        arm.question,
        estimate,
        interval,
        str(arm.limits),
        str(arm.n),
        arm.needs,
    ]


def _rounded(value: float | None) -> str | float:
    return "-" if value is None else round(value, 4)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _plain(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]])
