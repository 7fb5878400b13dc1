import pytest

from llmops_assets.evaluation.presentation import chain_table, metrics_rows, report_table_markdown
from llmops_assets.evaluation.report import EvalReport, build_report
from llmops_assets.evaluation.scores import AdapterScores
from llmops_assets.evaluation.specs import GatePolicy
from llmops_assets_tests.evaluation.made_scores import made_scores

BASE = made_scores(None, nll_per_token=3.5, rouge_l=0.1)
CPT = made_scores("cpt", nll_per_token=3.0, rouge_l=0.15)
SFT = made_scores("sft", nll_per_token=3.1, rouge_l=0.4)
DPO = made_scores("dpo", nll_per_token=3.1, rouge_l=0.4, wins=0.65)


@pytest.fixture(scope="module")
def chain() -> list[EvalReport]:
    def build(stage, candidate: AdapterScores, parent: AdapterScores | None) -> EvalReport:
        return build_report(
            stage=stage,
            candidate=candidate,
            parent=parent,
            base=BASE,
            champion=None,
            reference=parent if stage == "dpo" else None,
            beta=0.1 if stage == "dpo" else None,
            policy=GatePolicy(),
            labels={"base": "base", "cpt": "CPT", "sft": "SFT v1.0", "dpo": "DPO v1.1"},
        )

    return [build("cpt", CPT, None), build("sft", SFT, CPT), build("dpo", DPO, SFT)]


def test_the_chain_has_a_line_per_version_with_the_champion_marked(chain: list[EvalReport]):
    lines = chain_table(chain, champion_sha256="dpo").splitlines()
    assert [line.split("  ")[0] for line in lines[2:6]] == ["base", "CPT", "SFT v1.0", "DPO v1.1"]
    assert [line.endswith("*") for line in lines[2:6]] == [False, False, False, True]
    assert f"{BASE.perplexity:.2f}" in lines[2] and "PASS" in lines[3]


def test_the_chain_says_that_the_reference_is_one_half_by_definition(chain: list[EvalReport]):
    text = chain_table(chain)
    assert "0.500 (reference)" in text
    assert "against SFT v1.0" in text and "0.5 by definition" in text
    dpo = next(line for line in text.splitlines() if line.startswith("DPO"))
    assert "0.650 [0.602, 0.695]" in dpo


def test_a_chain_without_dpo_has_no_footnote(chain: list[EvalReport]):
    assert "by definition" not in chain_table(chain[:2])


def test_metrics_rows_have_one_column_per_subject_and_leave_out_what_nobody_measured(chain: list[EvalReport]):
    rows = metrics_rows(chain[1])
    assert all(set(row) == {"metric", "base", "CPT", "SFT v1.0"} for row in rows)
    assert not any("preference accuracy" in str(row["metric"]) for row in rows)
    assert next(row for row in rows if row["metric"] == "ROUGE-L")["SFT v1.0"] == pytest.approx(0.4, abs=0.02)


def test_markdown_tables_are_rectangular_and_state_the_verdict(chain: list[EvalReport]):
    text = report_table_markdown(chain[2])
    assert text.startswith("**PASS**")
    for table in text.split("\n\n")[1:]:
        widths = {line.count(" | ") for line in table.splitlines()}
        assert len(widths) == 1
    assert "preference_accuracy" in text
