"""The preference report for people: Markdown for the asset page, lines for the terminal."""

from collections.abc import Iterable, Mapping, Sequence

from llmops_assets.evaluation.preference_quality.figures import (
    Adjusted,
    DataSetFigures,
    PreferenceFigures,
    PromptFigures,
    Share,
)
from llmops_assets.evaluation.preference_quality.report import PreferenceReport
from llmops_assets.evaluation.verdict import Verdict

_MARKS = {Verdict.PASS: "✅", Verdict.FAIL: "❌", Verdict.INCONCLUSIVE: "❔", None: "⚪"}
_SHOWN_RATERS = 10


def headline(report: PreferenceReport) -> str:
    """Return one sentence: how much there is, and what speaks against it."""
    figures, findings = report.figures, report.findings
    sets = sum(entry.pairs for entry in figures.data_sets)
    pairs = f"{figures.pairs} pairs from votes" + (f" and {sets} of data sets" if sets else "")
    told = [f"{figures.deployment}: {pairs}, {figures.pair_prompts} prompts"]
    for verdict, verb in ((Verdict.FAIL, "fails"), (Verdict.INCONCLUSIVE, "cannot be told yet")):
        rules = [finding.rule for finding in findings if finding.verdict is verdict]
        if rules:
            told.append(f"{', '.join(rules)}: {verb if len(rules) == 1 else verb.replace('fails', 'fail')}")
    stops = [finding.rule for finding in findings if finding.stops]
    if stops:
        told.append(f"{', '.join(stops)} {'stops' if len(stops) == 1 else 'stop'} DPO")
    return "; ".join(told) + "."


def report_markdown(report: PreferenceReport) -> str:
    """Return the findings and all figures as Markdown."""
    figures, findings = report.figures, report.findings
    parts = [
        headline(report),
        _table(
            ["", "question", "found", "wanted", "on FAIL", "what to do"],
            [
                [
                    f"{_MARKS[finding.verdict]} {finding.rule}",
                    finding.question,
                    finding.evidence,
                    finding.wanted,
                    "stops DPO" if finding.blocking else "warns",
                    finding.advice,
                ]
                for finding in findings
            ],
        ),
        "## Votes",
        _table(["figure", "value"], _figure_rows(figures)),
    ]
    if figures.raters:
        parts += ["## Raters", _raters_table(figures)]
    if figures.version_pairs:
        header = ["versions", "first won", "second won", "tie", "both bad", "skip", "raters", "largest share of one"]
        rows = [
            [
                pair.pair,
                *map(str, (pair.first, pair.second, pair.tie, pair.both_bad, pair.skip, pair.raters)),
                f"{pair.largest_rater_share:.0%}",
            ]
            for pair in figures.version_pairs
        ]
        note = "Of a version against itself, the first is the answer on the left."
        parts += ["## Versions", _table(header, rows), note]
    if figures.data_sets:
        parts += ["## Data sets", _data_sets_table(figures.data_sets)]
    return "\n\n".join(parts) + "\n"


def terminal_lines(report: PreferenceReport) -> list[str]:
    """Return the report's main lines as plain text."""
    figures, findings = report.figures, report.findings
    width = max(len(finding.rule) for finding in findings)
    lines = [headline(report), ""]
    lines += [f"{name}: {value}" for name, value in _figure_rows(figures)]
    lines.append("")
    for finding in findings:
        lines.append(f"{finding.outcome:<14} {finding.rule:<{width}}  {finding.evidence} (wanted: {finding.wanted})")
        if finding.advice:
            lines.append(f"{'':<14} {'':<{width}}  -> {finding.advice}")
    return lines


def _figure_rows(figures: PreferenceFigures) -> list[list[str]]:
    whose = "simulated votes" if figures.simulated else "votes of people, services and judges"
    agreement = figures.agreement
    rows = [
        ["votes in the store", f"{figures.votes}, of which {figures.heard} are current, by raters who are known"],
        ["by verdict", _counts(figures.by_verdict)],
        ["by kind of rater", _counts(figures.by_rater_kind)],
        ["by month", _counts(figures.by_month)],
        ["no pair of the set", _counts(figures.left_out)],
        ["biases and raters are those of", whose],
        ["votes for the left answer", _share(figures.left)],
        ["votes for the longer answer", _share(figures.longer)],
        *_adjusted_rows(figures.adjusted),
        ["pairs of raters that agree", f"{_share(agreement.agreeing)}, on {agreement.battles} battles"],
        *_prompt_rows(figures.prompts),
    ]
    return [row for row in rows if row[1]]


def _adjusted_rows(adjusted: Adjusted | None) -> list[list[str]]:
    if adjusted is None:
        return []
    left = f"{adjusted.left:.1%} [{adjusted.left_low:.1%}, {adjusted.left_high:.1%}]"
    longer = f"{adjusted.longer:.1%} [{adjusted.longer_low:.1%}, {adjusted.longer_high:.1%}]"
    return [["left wins at equal length", left], ["an answer twice as long wins, side held", longer]]


def _prompt_rows(prompts: PromptFigures) -> list[list[str]]:
    rows = [
        [
            "prompts voted on",
            f"{prompts.prompts}, as good as {prompts.effective:.0f} with equally many votes; "
            f"{prompts.mean_votes:.1f} votes each, {prompts.most_votes} at most",
        ]
    ]
    if prompts.domain is not None:
        domain = prompts.domain
        rows += [
            ["held against sft_set", f"{domain.same} are its questions, {domain.near} near one, {domain.outside} not"],
            ["groups of sft_set seen", f"{domain.groups_seen} of {domain.groups}"],
            ["prompts by source of sft_set", _counts(domain.sources)],
        ]
    return rows


def _raters_table(figures: PreferenceFigures) -> str:
    rows = [
        [
            f"`{rater.rater[:6]}`",
            rater.kind,
            str(rater.votes),
            str(rater.pairs),
            "" if rater.share_of_pairs is None else f"{rater.share_of_pairs:.0%}",
            _share(rater.left),
            _share(rater.longer),
        ]
        for rater in figures.raters[:_SHOWN_RATERS]
    ]
    table = _table(["rater", "kind", "votes", "pairs", "share of pairs", "left", "longer"], rows)
    more = len(figures.raters) - _SHOWN_RATERS
    return table if more <= 0 else f"{table}\n\nAnd {more} raters with fewer pairs."


def _data_sets_table(data_sets: Iterable[DataSetFigures]) -> str:
    rows = [
        [
            entry.source,
            _counts(entry.layouts),
            str(entry.read),
            str(entry.pairs),
            f"{entry.sealed} ({entry.sealed / max(1, entry.pairs + entry.sealed):.0%})",
            _share(entry.longer),
            ", ".join(f"{name} {value:g}" for name, value in entry.margins.items()),
            _counts(entry.quarantined),
        ]
        for entry in data_sets
    ]
    header = ["source", "layouts", "read", "trained on", "sealed", "chosen is longer", "score margins", "left out"]
    return _table(header, rows)


def _share(share: Share) -> str:
    if share.estimate is None:
        return "none"
    return f"{share.count} of {share.of}, {share.estimate:.1%} [{share.low:.1%}, {share.high:.1%}]"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
