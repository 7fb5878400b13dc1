"""Limits on the figures of the preference report, as questions with an answer of three values and what to do."""

from collections.abc import Callable

from llmops_assets.evaluation.preference_quality.figures import Figures, PreferenceFigures, Share
from llmops_assets.evaluation.specs import GatePolicy
from llmops_assets.evaluation.statistics import Interval
from llmops_assets.evaluation.verdict import GateArm, Limits, Verdict
from llmops_assets.feedback.specs import QualityRule, VoteQualitySpec

_ONLY_SIMULATED = "all votes are simulated: one rule by intent, and labelled as such"
QUESTIONS: dict[QualityRule, str] = {
    "rater_share": "Is no rater behind too many of the set's pairs?",
    "agreement": "Do raters agree on the same battles better than by chance?",
    "position_bias": "Do votes not follow the side on which an answer stands?",
    "length_bias": "Do votes not follow the length of an answer alone?",
    "data_set_length_bias": "Does length alone not tell the chosen answers of each data set?",
    "identity_leaks": "Do prompts and answers keep the names of models, vendors and versions to themselves?",
    "contradictions": "Are few decisive votes contradicted by others?",
    "both_bad": "Is mostly at least one of two answers good enough to be preferred?",
    "prompts": "Do the set's pairs stem from enough different prompts?",
}
"""Every rule, in the order in which they are shown, and what it asks."""
_ADVICE: dict[QualityRule, str] = {
    "agreement": "let raters read one guideline and judge the same battles together; see which verdicts they confuse",
    "both_bad": "the versions are too weak here: train on demonstrations (SFT) of these prompts before preferences",
    "contradictions": "look at the battles under these reasons in quarantine.jsonl; drop questions of taste",
    "data_set_length_bias": "take the data set's share down, or choose pairs of like length",
    "identity_leaks": "hide names where answers are shown; list the lane's subject in preferences.allowed_names",
    "length_bias": "show answers of like length, or tell raters that longer is not better; watch the gate's length arm",
    "position_bias": "draw sides at random where battles are made, and look at the raters' own shares",
    "prompts": "collect votes on more prompts, not more votes on these",
    "rater_share": "ask more people, or set preferences.max_share_per_rater to cut the set",
}


_WORST_FIRST = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS, None)


class Finding(Figures):
    """One limit, what was measured against it, and the answer. `verdict` is None where the limit does not apply."""

    rule: QualityRule
    question: str
    verdict: Verdict | None
    evidence: str
    wanted: str
    advice: str
    blocking: bool

    @property
    def stops(self) -> bool:
        """Whether this finding stops a DPO run."""
        return self.blocking and self.verdict is Verdict.FAIL

    @property
    def outcome(self) -> str:
        return "not applicable" if self.verdict is None else self.verdict.value


def judge_preferences(figures: PreferenceFigures, limits: VoteQualitySpec) -> list[Finding]:
    """Return a finding per rule.

    Shares of what is there (raters, leaks, both bad, contradictions, prompts) are counts of this set and are compared
    as they are; agreement and biases are habits of raters, of which the votes are a sample, and are judged by their
    intervals: PASS if all of it is inside the limit, FAIL if all of it is outside, else INCONCLUSIVE.
    """
    return [_JUDGES[rule](figures, limits) for rule in QUESTIONS]


def _rater_share(figures: PreferenceFigures, limits: VoteQualitySpec) -> Finding:
    wanted = f"at most {limits.max_rater_share:.0%}, of {limits.min_raters} raters or more"
    deciding = [rater for rater in figures.raters if rater.pairs]
    if figures.simulated:
        return _finding("rater_share", limits, None, _ONLY_SIMULATED, wanted)
    if not deciding:
        return _finding("rater_share", limits, None, "no pair stems from a vote", wanted)
    largest = deciding[0]
    share = largest.share_of_pairs or 0.0
    raters = f"{len(deciding)} raters" if len(deciding) > 1 else "one rater"
    pairs = sum(rater.pairs for rater in deciding)
    told = f"{largest.pairs} of {pairs} pairs ({share:.0%}) are those of "
    told += f"{largest.rater[:6]}; {raters} in all"
    if len(deciding) < limits.min_raters:
        return _finding("rater_share", limits, Verdict.INCONCLUSIVE, told, wanted)
    if pairs < limits.min_examples:
        return _finding("rater_share", limits, Verdict.INCONCLUSIVE, told + _few(pairs, limits), wanted)
    return _finding("rater_share", limits, _at_most(share, limits.max_rater_share), told, wanted)


def _agreement(figures: PreferenceFigures, limits: VoteQualitySpec) -> Finding:
    wanted, found = f"alpha {Limits(low=limits.min_alpha)}", figures.agreement
    if figures.simulated:
        return _finding("agreement", limits, None, _ONLY_SIMULATED, wanted)
    if not figures.raters:
        return _finding("agreement", limits, None, "there are no votes", wanted)
    if found.alpha is None or found.low is None or found.high is None:
        told = f"{found.battles} battles were judged by two raters or more; too few differ to tell"
        return _finding("agreement", limits, Verdict.INCONCLUSIVE, told, wanted)
    interval = Interval(found.alpha, found.low, found.high, found.battles, found.battles, 0.0)
    enough = found.battles >= limits.min_examples
    verdict = Limits(low=limits.min_alpha).judge(interval) if enough else Verdict.INCONCLUSIVE
    told = f"alpha {found.alpha:.2f} [{found.low:.2f}, {found.high:.2f}] on {found.battles} battles"
    return _finding("agreement", limits, verdict, told + _few(found.battles, limits), wanted)


def _position_bias(figures: PreferenceFigures, limits: VoteQualitySpec) -> Finding:
    return _habit("position_bias", "left", figures.left, limits.max_position_deviation, limits)


def _length_bias(figures: PreferenceFigures, limits: VoteQualitySpec) -> Finding:
    return _habit("length_bias", "the longer", figures.longer, limits.max_length_deviation, limits)


def _data_set_length_bias(figures: PreferenceFigures, limits: VoteQualitySpec) -> Finding:
    """Return the worst verdict of a data set, and of those with it the one that is furthest from one half."""
    measured = [entry for entry in figures.data_sets if entry.longer.estimate is not None]
    if not measured:
        wanted = "for pairs of data sets"
        return _finding("data_set_length_bias", limits, None, "the set has no pairs of data sets", wanted)
    measured.sort(key=lambda entry: -abs((entry.longer.estimate or 0.0) - 0.5))
    findings = [
        _habit(
            "data_set_length_bias", f"the longer, in {entry.source}", entry.longer, limits.max_length_deviation, limits
        )
        for entry in measured
    ]
    return min(findings, key=lambda finding: _WORST_FIRST.index(finding.verdict))


def _identity_leaks(figures: PreferenceFigures, limits: VoteQualitySpec) -> Finding:
    named = ", ".join(f"{name} ({count})" for name, count in figures.leaked_names.items())
    highest = limits.max_identity_share
    return _counted("identity_leaks", "battles judged", figures.leaks, highest, limits, named)


def _contradictions(figures: PreferenceFigures, limits: VoteQualitySpec) -> Finding:
    highest = limits.max_contradiction_share
    return _counted("contradictions", "decisive votes", figures.contradictions, highest, limits)


def _both_bad(figures: PreferenceFigures, limits: VoteQualitySpec) -> Finding:
    return _counted("both_bad", "votes but skips", figures.both_bad, limits.max_both_bad_share, limits)


def _prompts(figures: PreferenceFigures, limits: VoteQualitySpec) -> Finding:
    verdict = Verdict.PASS if figures.pair_prompts >= limits.min_prompts else Verdict.FAIL
    told, wanted = f"{figures.pair_prompts} different prompts", f"at least {limits.min_prompts}"
    return _finding("prompts", limits, verdict, told, wanted)


def _habit(rule: QualityRule, what: str, share: Share, deviation: float, limits: VoteQualitySpec) -> Finding:
    """Judge a share that should be near one half by its interval."""
    region = Limits(low=0.5 - deviation, high=0.5 + deviation)
    interval = share.interval()
    if interval is None:
        return _finding(rule, limits, None, "there are no such votes", str(region))
    policy = GatePolicy(confidence=limits.confidence, min_examples=limits.min_examples)
    arm = GateArm.from_interval(rule, QUESTIONS[rule], interval, region, n=share.of, policy=policy)
    told = f"{share.count} of {share.of} for {what}: {_percent(interval)}"
    return _finding(rule, limits, arm.verdict, f"{told}; {arm.needs}" if arm.needs else told, str(region))


def _counted(
    rule: QualityRule,
    what: str,
    share: Share,
    highest: float,
    limits: VoteQualitySpec,
    details: str = "",
) -> Finding:
    """Judge a share of what is there."""
    wanted = f"at most {highest:.0%}"
    if share.estimate is None:
        return _finding(rule, limits, None, "there are no such votes", wanted)
    told = f"{share.count} of {share.of} {what} ({share.estimate:.1%})" + (f": {details}" if details else "")
    verdict = _at_most(share.estimate, highest)
    if share.count and share.of < limits.min_examples:
        verdict = Verdict.INCONCLUSIVE
        told += _few(share.of, limits)
    return _finding(rule, limits, verdict, told, wanted)


def _finding(
    rule: QualityRule, limits: VoteQualitySpec, verdict: Verdict | None, evidence: str, wanted: str
) -> Finding:
    return Finding(
        rule=rule,
        question=QUESTIONS[rule],
        verdict=verdict,
        evidence=evidence,
        wanted=wanted,
        advice="" if verdict in (None, Verdict.PASS) else _ADVICE[rule],
        blocking=rule in limits.blocking,
    )


def _at_most(value: float, limit: float) -> Verdict:
    return Verdict.PASS if value <= limit else Verdict.FAIL


def _few(n: int, limits: VoteQualitySpec) -> str:
    return f"; {limits.min_examples} are needed to tell" if n < limits.min_examples else ""


def _percent(interval: Interval) -> str:
    return f"{interval.estimate:.1%} [{interval.low:.1%}, {interval.high:.1%}]"


_JUDGES: dict[QualityRule, Callable[[PreferenceFigures, VoteQualitySpec], Finding]] = {
    "rater_share": _rater_share,
    "agreement": _agreement,
    "position_bias": _position_bias,
    "length_bias": _length_bias,
    "data_set_length_bias": _data_set_length_bias,
    "identity_leaks": _identity_leaks,
    "contradictions": _contradictions,
    "both_bad": _both_bad,
    "prompts": _prompts,
}
