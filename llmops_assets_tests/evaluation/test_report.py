from typing import Any

import pytest

from llmops_assets.evaluation.arms import IncomparableScores, implicit_reward_margins
from llmops_assets.evaluation.leakage import LeakEvidence, TrainingLeak
from llmops_assets.evaluation.presentation import report_table_markdown
from llmops_assets.evaluation.report import EvalReport, build_report
from llmops_assets.evaluation.scores import AdapterScores, PairScore
from llmops_assets.evaluation.specs import EvaluationSpec, GatePolicy
from llmops_assets.evaluation.verdict import Verdict
from llmops_assets_tests.evaluation.made_scores import made_scores

LABELS = {"base": "base", "cpt": "cpt", "sft": "v1.0", "dpo": "v1.1", "old": "v0.9"}
BASE = made_scores(None, nll_per_token=3.5, rouge_l=0.1, answer_tokens=60)
CPT = made_scores("cpt", nll_per_token=3.0, rouge_l=0.15, answer_tokens=50)
SFT = made_scores("sft", nll_per_token=3.1, rouge_l=0.4)
PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


def report(stage: Any, candidate: AdapterScores, **changes: Any) -> EvalReport:
    parents = {"cpt": None, "sft": CPT, "dpo": SFT}
    values = {
        "parent": parents[stage],
        "base": BASE,
        "champion": None,
        "reference": SFT if stage == "dpo" else None,
        "beta": 0.1 if stage == "dpo" else None,
        "policy": GatePolicy(),
        "labels": LABELS,
    }
    return build_report(stage=stage, candidate=candidate, **(values | changes))


def verdicts(weighed: EvalReport) -> dict[str, Verdict]:
    return {arm.name: arm.verdict for arm in weighed.arms}


@pytest.mark.parametrize(
    ("nll", "verdict"),
    [(3.0, PASS), (3.5, INCONCLUSIVE), (3.7, FAIL)],
)
def test_cpt_must_lower_heldout_perplexity_against_the_base(nll: float, verdict: Verdict):
    weighed = report("cpt", made_scores("cpt", nll_per_token=nll))
    assert weighed.verdict is verdict
    assert weighed.baseline_sha256 is None


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({}, None),
        ({"rouge_l": 0.05}, "rouge_l"),
        ({"answer_tokens": 2}, "answer_length"),
        ({"answer_tokens": 60}, "answer_length"),
        ({"nll_per_token": 3.4}, "forgetting"),
    ],
)
def test_sft_must_answer_better_at_a_sane_length_without_forgetting(changes: dict[str, Any], failing: str | None):
    values: dict[str, Any] = {"nll_per_token": 3.1, "rouge_l": 0.4} | changes
    weighed = report("sft", made_scores("sft", **values))
    assert [name for name, verdict in verdicts(weighed).items() if verdict is FAIL] == ([failing] if failing else [])
    assert weighed.verdict is (FAIL if failing else PASS)


def test_an_sft_adapter_may_not_take_over_from_a_better_champion():
    champion = made_scores("old", nll_per_token=3.1, rouge_l=0.6)
    weighed = report("sft", SFT, champion=champion)
    assert verdicts(weighed)["rouge_l_against_champion"] is FAIL
    assert weighed.champion_sha256 == "old"


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({}, None),
        ({"wins": 0.3}, "preference_accuracy"),
        ({"rouge_l": 0.3}, "rouge_l"),
        ({"exact_match": 0.0}, "exact_match"),
        ({"nll_per_token": 3.3}, "forgetting"),
        ({"answer_tokens": 60}, "answer_length"),
        ({"answer_tokens": 1}, "answer_length"),
    ],
)
def test_dpo_must_win_preferences_and_lose_nothing(changes: dict[str, Any], failing: str | None):
    values: dict[str, Any] = {"nll_per_token": 3.1, "rouge_l": 0.4, "wins": 0.65} | changes
    weighed = report("dpo", made_scores("dpo", **values))
    assert [name for name, verdict in verdicts(weighed).items() if verdict is FAIL] == ([failing] if failing else [])
    assert weighed.verdict is (FAIL if failing else PASS)


def test_dpo_is_measured_against_the_champion_where_there_is_one():
    champion = made_scores("old", nll_per_token=3.1, rouge_l=0.6)
    candidate = made_scores("dpo", nll_per_token=3.1, rouge_l=0.4, wins=0.65)
    assert report("dpo", candidate).verdict is PASS
    weighed = report("dpo", candidate, champion=champion)
    assert verdicts(weighed)["rouge_l"] is FAIL
    assert (weighed.champion_sha256, weighed.baseline) == ("old", "v0.9")
    assert "rouge_l" in weighed.summary and "v0.9" in weighed.summary


@pytest.mark.parametrize("n", [5, 29])
def test_few_examples_never_pass(n: int):
    parent = made_scores("sft", nll_per_token=3.1, n=n)
    candidate = made_scores("dpo", nll_per_token=2.0, rouge_l=0.9, exact_match=1.0, wins=1.0, n=n)
    weighed = report("dpo", candidate, parent=parent, reference=parent, base=made_scores(None, n=n))
    assert weighed.verdict is INCONCLUSIVE
    assert "more examples" in weighed.summary


def test_reward_accuracy_compares_the_gain_over_the_reference_and_not_the_likelihood():
    def scores(name: str, *rows: tuple[float, float]) -> AdapterScores:
        pairs = [
            PairScore(
                id=str(i), group=str(i), logp_chosen=chosen, logp_rejected=rejected, tokens_chosen=5, tokens_rejected=5
            )
            for i, (chosen, rejected) in enumerate(rows)
        ]
        return made_scores(name, stages=(), preferences=pairs)

    reference = scores("sft", (-10, -5), (-10, -5), (-10, -5))
    candidate = scores("dpo", (-9, -5), (-10, -4), (-9, -4))
    assert implicit_reward_margins(candidate, reference, 0.5) == pytest.approx([0.5, -0.5, 0.0])
    assert candidate.likelihood_accuracy == 0.0


def test_the_reference_itself_scores_one_half_by_definition():
    weighed = report("dpo", made_scores("dpo", wins=0.65))
    reference, candidate = weighed.subject("reference"), weighed.subject("candidate")
    assert reference and reference.preference and reference.preference.accuracy == 0.5
    assert candidate and candidate.preference and candidate.preference.accuracy == pytest.approx(0.65)
    assert candidate.preference.low > 0.5
    assert candidate.preference.reward_margin == pytest.approx(0.1 * (0.65 - 0.35))


def test_one_adapter_in_two_roles_is_one_subject():
    weighed = report("dpo", made_scores("dpo", wins=0.65), champion=SFT)
    assert [subject.roles for subject in weighed.subjects] == [
        ["base"],
        ["parent", "champion", "reference"],
        ["candidate"],
    ]


def test_two_adapters_under_one_label_stay_two_columns():
    champion = made_scores("old", nll_per_token=3.1)
    weighed = report("dpo", made_scores("dpo", wins=0.65), champion=champion, labels=LABELS | {"old": "v1.1"})
    assert [subject.label for subject in weighed.subjects] == ["base", "v1.0", "v1.1 (old)", "v1.1 (dpo)"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": EvaluationSpec(max_new_tokens=8)}, "different settings"),
        ({"inputs": {"documents": "other"}}, "different input files"),
        ({"device": "cuda/bf16"}, "different device"),
    ],
)
def test_scores_measured_under_other_conditions_are_refused(changes: dict[str, Any], message: str):
    with pytest.raises(IncomparableScores, match=message):
        report("sft", made_scores("sft", **changes))


def test_unpaired_rows_are_refused_with_an_example():
    candidate = made_scores("sft")
    fewer = candidate.model_copy(update={"questions": candidate.questions[1:]})
    with pytest.raises(IncomparableScores, match="unpaired: q0"):
        report("sft", fewer)


def test_a_gate_without_its_measurement_is_refused():
    stages = ("documents", "questions")
    parent = made_scores("sft", stages=stages)
    with pytest.raises(IncomparableScores, match="no preference pairs were measured"):
        report(
            "dpo",
            made_scores("dpo", stages=stages),
            parent=parent,
            reference=parent,
            base=made_scores(None, stages=stages),
        )


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_a_lane_without_a_corpus_is_weighed_by_its_answers_alone(stage: str):
    stages = ("questions", "preferences")
    parent = made_scores("sft" if stage == "dpo" else None, rouge_l=0.3, stages=stages)
    candidate = made_scores(stage, rouge_l=0.5, wins=0.65, stages=stages)
    reference = parent if stage == "dpo" else None
    weighed = report(stage, candidate, parent=parent, base=made_scores(None, stages=stages), reference=reference)
    assert "forgetting" not in verdicts(weighed)
    assert weighed.verdict is PASS


def test_documents_of_one_side_alone_are_refused():
    bare = SFT.model_copy(update={"documents": []})
    with pytest.raises(IncomparableScores, match="no held-out documents were measured"):
        report("sft", bare)


def test_a_dpo_gate_needs_the_reference_policy():
    with pytest.raises(IncomparableScores, match="frozen parent"):
        report("dpo", made_scores("dpo"), reference=None)


def test_a_report_survives_json_and_is_the_same_for_the_same_evidence():
    first = report("dpo", made_scores("dpo", wins=0.65))
    assert EvalReport.model_validate_json(first.model_dump_json()) == first
    assert report("dpo", made_scores("dpo", wins=0.65)) == first


def leaks(rows: int, missing: list[str]) -> LeakEvidence:
    first = [TrainingLeak(training_set="sft_set 0123", line=7, item="he/1", evidence="13 words")] if rows else []
    return LeakEvidence(eval_sets="v", rows={"sft_set 0123": 100}, missing=missing, leaking_rows=rows, first=first)


@pytest.mark.parametrize(
    ("evidence", "verdict", "said"),
    [
        (leaks(0, []), PASS, "v1.0 passes all"),
        (leaks(1, []), FAIL, "sft_set 0123 holds eval item he/1 in line 7 (13 words)"),
        (leaks(2, ["corpus 4567"]), FAIL, "no_eval_leak is 2"),
        (leaks(0, ["corpus 4567"]), INCONCLUSIVE, "not in the artifact store any more: corpus 4567"),
    ],
)
def test_one_row_that_taught_an_eval_item_fails_the_gate_whatever_was_scored(
    evidence: LeakEvidence, verdict: Verdict, said: str
):
    weighed = report("sft", made_scores("sft", nll_per_token=3.1, rouge_l=0.4), training_leaks=evidence)
    assert weighed.verdict is verdict
    assert verdicts(weighed)["no_eval_leak"] is verdict
    assert said in weighed.summary
    assert "no_eval_leak" in report_table_markdown(weighed)
    assert EvalReport.model_validate_json(weighed.model_dump_json()) == weighed
