"""How much of a gap was closed: against known answers, and what is said where there is no gap."""

import random

import pytest

from llmops_assets.evaluation.distillation import (
    DistillationReport,
    PairedScores,
    UnpairedScores,
    answer_gaps,
    distillation_markdown,
    gap_closed,
    token_level,
)
from llmops_assets.evaluation.token_agreement import RowDistance, TokenDistances
from llmops_assets_tests.evaluation.made_scores import made_scores

CONFIDENCE, SEED = 0.95, 7


def scores(closed: float, lead: float, n: int = 200, noise: float = 0.05) -> PairedScores:
    """Examples of differing difficulty, on which the teacher leads by `lead` and the student closes a share of it."""
    draw = random.Random(3)
    before = [draw.uniform(0.2, 0.6) for _ in range(n)]
    teacher = [value + lead + draw.gauss(0, noise) for value in before]
    after = [value + closed * lead + draw.gauss(0, noise) for value in before]
    return PairedScores("ROUGE-L", before, after, teacher, [str(index) for index in range(n)])


@pytest.mark.parametrize("lead", [0.3, -0.3], ids=["higher is better", "lower is better"])
def test_the_closed_share_is_found_in_whichever_direction_a_metric_improves(lead: float) -> None:
    found = gap_closed(scores(0.6, lead), confidence=CONFIDENCE, seed=SEED)
    assert found.closed == pytest.approx((found.after - found.before) / (found.teacher - found.before))
    assert found.low is not None and found.high is not None
    assert found.low < 0.6 < found.high
    assert found.high - found.low < 0.15
    assert found.finding == "part of the gap is closed"


def test_no_ratio_is_given_where_the_teacher_is_not_better() -> None:
    found = gap_closed(scores(0.6, 0.001), confidence=CONFIDENCE, seed=SEED)
    assert found.gap_low is not None and found.gap_high is not None
    assert found.gap_low < 0 < found.gap_high
    assert (found.closed, found.low, found.high) == (None, None, None)
    assert "cannot be told from 0" in found.finding


@pytest.mark.parametrize(
    ("closed", "finding"),
    [
        (0.0, "no progress can be told from chance"),
        (-0.5, "the student has moved away from its teacher"),
        (1.0, "the gap is closed as far as these examples can tell"),
        (1.4, "the student has passed its teacher"),
    ],
)
def test_the_finding_follows_from_the_interval(closed: float, finding: str) -> None:
    assert gap_closed(scores(closed, 0.3), confidence=CONFIDENCE, seed=SEED).finding == finding


def test_the_interval_is_the_same_for_the_same_seed_and_wider_for_fewer_groups() -> None:
    many = scores(0.5, 0.3)
    assert gap_closed(many, confidence=CONFIDENCE, seed=1) == gap_closed(many, confidence=CONFIDENCE, seed=1)
    few = PairedScores(
        many.metric, many.before, many.after, many.teacher, [str(index % 4) for index in range(len(many.groups))]
    )
    assert gap_closed(few, confidence=CONFIDENCE, seed=1).groups == 4
    one = PairedScores(many.metric, many.before, many.after, many.teacher, ["all"] * len(many.groups))
    assert gap_closed(one, confidence=CONFIDENCE, seed=1).closed is None


def test_scores_of_other_examples_are_refused() -> None:
    with pytest.raises(UnpairedScores, match="before 2, after 1, teacher 2, groups 2"):
        gap_closed(PairedScores("ROUGE-L", [0, 1], [1], [1, 1], ["a", "b"]), confidence=CONFIDENCE, seed=SEED)


def test_answers_are_paired_by_question_and_those_that_one_of_the_three_lacks_are_left_out() -> None:
    before, after, teacher = (
        made_scores(name, rouge_l=rouge_l) for name, rouge_l in ((None, 0.3), ("after", 0.36), ("teacher", 0.4))
    )
    fewer = after.model_copy(update={"questions": list(reversed(after.questions[40:]))})
    gaps = {gap.metric: gap for gap in answer_gaps(before, fewer, teacher, confidence=CONFIDENCE, seed=SEED)}
    found = gaps["ROUGE-L"]
    assert found.examples == 360
    assert found.low is not None and found.high is not None
    assert 0.55 < found.low < 0.6 < found.high < 0.65
    assert gaps["token Jaccard"].closed is None
    nothing = after.model_copy(update={"questions": []})
    with pytest.raises(UnpairedScores, match="same held-out rows"):
        answer_gaps(before, nothing, teacher, confidence=CONFIDENCE, seed=SEED)


def distances(agreed: float, kl: float) -> TokenDistances:
    rows = [RowDistance(tokens=n, agreed=round(n * agreed), kl=n * kl * (1 + (n % 3) / 10)) for n in range(10, 50)]
    return TokenDistances(adapter_sha256="a" * 64, rows=rows)


def test_token_level_means_are_over_tokens_and_changes_have_intervals() -> None:
    before, after = distances(0.4, 1.0), distances(0.7, 0.5)
    level = token_level(before, after, confidence=CONFIDENCE, seed=SEED)
    tokens = sum(row.tokens for row in before.rows)
    assert level.tokens == tokens
    assert level.agreement_after == sum(row.agreed for row in after.rows) / tokens
    assert level.agreement_gain_low is not None and level.kl_change_high is not None
    assert level.agreement_gain_low > 0.25
    assert level.kl_change_high < -0.45
    with pytest.raises(UnpairedScores, match="40 rows"):
        token_level(before, TokenDistances(adapter_sha256=None, rows=after.rows[1:]), confidence=CONFIDENCE, seed=SEED)


def test_markdown_has_a_row_per_metric_and_no_ratio_without_a_gap() -> None:
    report = DistillationReport(
        teacher="f" * 64,
        student_before=None,
        student_after="b" * 64,
        confidence=CONFIDENCE,
        gaps=[
            gap_closed(scores(closed, lead), confidence=CONFIDENCE, seed=SEED) for closed, lead in ((0.6, 0.3), (0, 0))
        ],
        tokens=token_level(distances(0.4, 1.0), distances(0.7, 0.5), confidence=CONFIDENCE, seed=SEED),
    )
    lines = distillation_markdown(report).splitlines()
    assert lines[0] == f"Teacher `{'f' * 12}`, student `the base` before and `{'b' * 12}` after."
    with_gap, without = [line for line in lines if line.startswith("| ROUGE-L")]
    assert " 60% | [" in with_gap or " 59% | [" in with_gap or " 61% | [" in with_gap
    assert "| - | - | 200 |" in without
    assert any(line.startswith("| same token as the teacher | 40.") for line in lines)
