"""What is planted in a store is found in figures and verdicts, and nothing else is."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops_assets.evaluation.preference_quality.presentation import headline, report_markdown, terminal_lines
from llmops_assets.evaluation.preference_quality.report import PreferenceReport
from llmops_assets.feedback.records import Rater
from llmops_assets.feedback.specs import PreferenceSpec, VoteQualitySpec
from llmops_assets_tests.evaluation.preference_quality.planted import LONG, PEOPLE, SHORT, Booth, booth, fair_side

WITHOUT_DATA_SETS = {"data_set_length_bias": "not applicable"}


@pytest.fixture(scope="module")
def fair_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 160 fair votes of five people, and 40 battles on which nearly all pairs of raters agree."""
    folder = tmp_path_factory.mktemp("fair")
    with booth(folder) as made:
        made.fair_votes(160)
        made.shared_battles(40, agreeing=36, start=5000)
        made.record()
    return folder


@pytest.fixture
def votes(fair_store: Path, tmp_path: Path) -> Iterator[Booth]:
    """A copy of the fair store, to which a test adds."""
    shutil.copytree(fair_store, tmp_path, dirs_exist_ok=True)
    with booth(tmp_path) as made:
        yield made


def not_passed(report: PreferenceReport) -> dict[str, str]:
    outcomes = {finding.rule: finding.outcome for finding in report.findings}
    return {rule: outcome for rule, outcome in outcomes.items() if outcome != "PASS"}


def test_fair_votes_pass_every_limit(votes: Booth) -> None:
    report = votes.report()
    assert not_passed(report) == WITHOUT_DATA_SETS
    figures = report.figures
    assert (figures.votes, figures.pairs, figures.by_verdict) == (240, 196, {"left": 120, "right": 120})
    assert figures.left_out == {"conflicting": 8, "corroborating": 36}
    assert sum(rater.pairs for rater in figures.raters) == 196
    assert headline(report) == "planted: 196 pairs from votes, 196 prompts."


def test_a_side_that_is_preferred_is_found_and_only_that(votes: Booth) -> None:
    for number in range(1000, 1200):
        votes.vote(number, PEOPLE[number % 5], "left")
    report = votes.report()
    assert not_passed(report) == {"position_bias": "FAIL"} | WITHOUT_DATA_SETS
    assert (report.figures.left.count, report.figures.left.of) == (320, 440)
    assert all(rater.left.estimate == pytest.approx(320 / 440, abs=0.05) for rater in report.figures.raters)


def test_a_taste_for_length_is_found_and_only_that(votes: Booth) -> None:
    for number in range(1000, 1400):
        longer_left = number % 2 == 0
        _vote_on_lengths(votes, number, longer_left=longer_left, longer_wins=number % 50 > 0)
    report = votes.report()
    assert not_passed(report) == {"length_bias": "FAIL"} | WITHOUT_DATA_SETS
    assert (report.figures.longer.count, report.figures.longer.of) == (392 + 120, 400 + 240)
    adjusted = report.figures.adjusted
    assert adjusted is not None
    assert adjusted.longer_low > 0.6
    assert adjusted.left_low < 0.5 < adjusted.left_high


def test_a_side_that_holds_the_longer_answer_is_no_side_that_is_preferred(tmp_path: Path) -> None:
    with booth(tmp_path) as made:
        for number in range(300):
            longer_left = number % 10 < 8
            _vote_on_lengths(made, number, longer_left=longer_left, longer_wins=number // 10 % 10 != 0)
        figures = made.report().figures
    assert figures.left.low is not None and figures.left.low > 0.6
    assert figures.adjusted is not None and figures.adjusted.left_low < 0.5 < figures.adjusted.left_high


def _vote_on_lengths(votes: Booth, number: int, *, longer_left: bool, longer_wins: bool) -> None:
    longer, shorter = f"{LONG} {number}", f"{SHORT} {number}"
    left, right = (longer, shorter) if longer_left else (shorter, longer)
    votes.vote(number, PEOPLE[number % 5], "left" if longer_left == longer_wins else "right", left=left, right=right)


def test_a_dominating_rater_is_found_and_only_that(votes: Booth) -> None:
    for number in range(1000, 1200):
        votes.vote(number, PEOPLE[0], fair_side(number))
    report = votes.report()
    assert not_passed(report) == {"rater_share": "FAIL"} | WITHOUT_DATA_SETS
    largest = report.figures.raters[0]
    assert (largest.pairs, largest.share_of_pairs) == (247, 247 / 396)
    assert {pair.largest_rater_share for pair in report.figures.version_pairs} == {248 / 440}
    cut = votes.report(PreferenceSpec(max_share_per_rater=0.4))
    assert not_passed(cut) == WITHOUT_DATA_SETS
    assert cut.figures.left_out["rater_over_share"] == 247 - cut.figures.raters[0].pairs
    assert cut.figures.raters[0].share_of_pairs == pytest.approx(0.4, abs=0.005)


def test_raters_who_disagree_are_found_and_stop_the_run(votes: Booth) -> None:
    votes.shared_battles(40, agreeing=0, start=7000)
    report = votes.report()
    assert not_passed(report) == {"agreement": "FAIL", "contradictions": "FAIL"} | WITHOUT_DATA_SETS
    assert report.figures.agreement.agreeing.count == 36
    assert report.figures.agreement.battles == 80
    assert [finding.rule for finding in report.findings if finding.stops] == ["agreement"]
    assert headline(report).endswith("agreement, contradictions: fail; agreement stops DPO.")


def test_names_that_give_a_side_away_are_found_and_only_that(votes: Booth) -> None:
    for number in range(1000, 1020):
        left = f"I am ChatGPT, made by OpenAI. {number}" if number % 2 else f"Version v1.1 answers. {number}"
        votes.vote(number, PEOPLE[number % 5], fair_side(number), left=left, right="=" * len(left))
    report = votes.report()
    assert not_passed(report) == {"identity_leaks": "FAIL"} | WITHOUT_DATA_SETS
    assert (report.figures.leaks.count, report.figures.leaks.of) == (20, 220)
    assert report.figures.leaked_names == {"chatgpt": 10, "openai": 10, "v1.1": 10}
    assert report.figures.left_out["identity_leak"] == 20


def test_answers_that_are_both_bad_are_an_alarm(votes: Booth) -> None:
    for number in range(1000, 1100):
        votes.vote(number, PEOPLE[number % 5], "both_bad")
    report = votes.report()
    assert not_passed(report) == {"both_bad": "FAIL"} | WITHOUT_DATA_SETS
    assert report.figures.both_bad.count == 100


def test_many_votes_on_few_prompts_are_found(tmp_path: Path) -> None:
    with booth(tmp_path) as made:
        for number in range(60):
            made.vote(number, PEOPLE[number % 5], fair_side(number), prompt=f"Question {number % 3}?")
        report = made.report()
    assert not_passed(report)["prompts"] == "FAIL"
    assert report.figures.pair_prompts == 3
    assert report.figures.prompts.effective == pytest.approx(3)
    assert report.figures.prompts.most_votes == 20


def test_simulated_votes_are_labelled_and_spared_the_limits_on_raters(tmp_path: Path) -> None:
    with booth(tmp_path) as made:
        rater = Rater(subject="rule", kind="simulated")
        for number in range(60):
            made.vote(number, rater, fair_side(number))
        report = made.report()
    outcomes = {finding.rule: finding.outcome for finding in report.findings}
    assert (outcomes["rater_share"], outcomes["agreement"]) == ("not applicable", "not applicable")
    assert report.figures.simulated
    assert "simulated votes" in "\n".join(terminal_lines(report))


def test_real_votes_are_judged_without_the_simulated_ones(votes: Booth) -> None:
    rule = Rater(subject="rule", kind="simulated")
    for number in range(1000, 1100):
        votes.vote(number, rule, "left")
    report = votes.report()
    assert not_passed(report) == WITHOUT_DATA_SETS
    assert report.figures.by_rater_kind == {"human": 240, "simulated": 100}
    assert report.figures.left.of == 240


def test_few_votes_prove_nothing(tmp_path: Path) -> None:
    with booth(tmp_path) as made:
        for number in range(20):
            made.vote(number, PEOPLE[number % 2], "left")
        report = made.report()
    unclear = dict.fromkeys(["rater_share", "agreement", "position_bias", "length_bias"], "INCONCLUSIVE")
    assert not_passed(report) == unclear | WITHOUT_DATA_SETS
    assert "needs at least 10 more examples (20 now)" in report_markdown(report)


def test_the_erased_are_in_no_figure_of_raters(votes: Booth) -> None:
    votes.store.erase_rater(PEOPLE[0])
    report = votes.report()
    assert len(report.figures.raters) == 4
    assert report.figures.heard == 192
    assert report.figures.left_out["rater_erased"] == 48


def test_an_empty_store_has_a_report(tmp_path: Path) -> None:
    with booth(tmp_path) as made:
        report = made.report()
    assert report.figures.votes == 0
    assert {finding.outcome for finding in report.findings if finding.rule != "prompts"} == {"not applicable"}
    assert terminal_lines(report)


def test_the_same_votes_give_the_same_report(votes: Booth) -> None:
    assert votes.report().model_dump_json() == votes.report().model_dump_json()


def test_limits_and_what_blocks_are_those_of_the_recipe(votes: Booth) -> None:
    section = PreferenceSpec(quality=VoteQualitySpec(max_rater_share=0.1, blocking=["rater_share"]))
    report = votes.report(section)
    assert not_passed(report) == {"rater_share": "FAIL"} | WITHOUT_DATA_SETS
    assert [finding.rule for finding in report.findings if finding.stops] == ["rater_share"]
