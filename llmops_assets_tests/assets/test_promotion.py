"""The decision table of the champion."""

import pytest

from llmops_assets.assets.promotion import Challenger, Champion, NoChampion, decide_promotion


def adapter(label: str) -> Champion:
    return Champion(
        asset="dpo_adapter",
        fingerprint=f"fingerprint-{label}",
        adapter_sha256=f"sha-{label}",
        label=label,
        report_asset="dpo_report",
        report_fingerprint=f"report-{label}",
    )


def challenger(label: str, verdict: str = "PASS", against: str = "v1.0") -> Challenger:
    return Challenger(adapter(label), verdict, f"{label} says {verdict}.", f"sha-{against}")


def test_a_pass_against_todays_champion_moves_it() -> None:
    decision = decide_promotion(adapter("v1.0"), [challenger("v1.1")])
    assert decision.moved
    assert decision.champion.label == "v1.1"
    assert decision.reason == "v1.1 replaces v1.0: v1.1 says PASS."


@pytest.mark.parametrize("verdict", ["FAIL", "INCONCLUSIVE"])
def test_no_other_verdict_moves_it(verdict: str) -> None:
    decision = decide_promotion(adapter("v1.0"), [challenger("v1.1", verdict)])
    assert not decision.moved
    assert decision.champion.label == "v1.0"
    assert verdict in decision.reason


def test_an_older_pass_does_not_count_after_a_newer_fail() -> None:
    decision = decide_promotion(adapter("v1.0"), [challenger("v1.2", "FAIL"), challenger("v1.1", "PASS")])
    assert decision.champion.label == "v1.0"


def test_a_pass_against_another_champion_proves_nothing() -> None:
    decision = decide_promotion(adapter("v1.1"), [challenger("v1.2", against="v1.0")])
    assert not decision.moved
    assert "materialize its report again" in decision.reason


def test_an_ancestor_is_not_promoted_over_its_descendant() -> None:
    decision = decide_promotion(
        adapter("v1.1"), [challenger("v1.0", against="v1.1")], ancestors=frozenset({"sha-v1.0"})
    )
    assert not decision.moved
    assert "rollback" in decision.reason


def test_the_champion_itself_stays() -> None:
    assert not decide_promotion(adapter("v1.1"), [challenger("v1.1")]).moved


def test_the_first_champion_needs_a_pass() -> None:
    assert decide_promotion(None, [challenger("v1.0")]).moved
    with pytest.raises(NoChampion, match="INCONCLUSIVE"):
        decide_promotion(None, [challenger("v1.0", "INCONCLUSIVE")])
    with pytest.raises(NoChampion, match="no evaluation report"):
        decide_promotion(None, [])
