"""Rules that need figures which votes alone do not make."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from llmops_assets.evaluation.preference_quality.figures import DataSetFigures, PreferenceFigures, Share
from llmops_assets.evaluation.preference_quality.limits import Finding, judge_preferences
from llmops_assets.feedback.specs import QualityRule, VoteQualitySpec
from llmops_assets_tests.evaluation.preference_quality.planted import booth


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> PreferenceFigures:
    folder: Path = tmp_path_factory.mktemp("limits")
    with booth(folder) as made:
        made.fair_votes(20)
        return made.report().figures


def finding(figures: PreferenceFigures, rule: QualityRule) -> Finding:
    return next(each for each in judge_preferences(figures, VoteQualitySpec()) if each.rule == rule)


def data_set(source: str, count: int, of: int) -> DataSetFigures:
    longer = Share.counted(count, of, 0.95)
    return DataSetFigures(
        source=source, layouts={}, read=of, pairs=of, sealed=0, quarantined={}, longer=longer, margins={}
    )


def test_a_small_data_set_further_from_one_half_hides_no_large_one_that_fails(figures: PreferenceFigures) -> None:
    sets = [data_set("small", 5, 5), data_set("fair", 250, 500), data_set("large", 450, 500)]
    found = finding(figures.model_copy(update={"data_sets": sets}), "data_set_length_bias")
    assert found.outcome == "FAIL" and "in large" in found.evidence
    found = finding(figures.model_copy(update={"data_sets": sets[:2]}), "data_set_length_bias")
    assert found.outcome == "INCONCLUSIVE" and "in small" in found.evidence


def test_of_few_pairs_no_rater_share_fails_or_passes(figures: PreferenceFigures) -> None:
    assert 0 < sum(rater.pairs for rater in figures.raters) < VoteQualitySpec().min_examples
    found = finding(figures, "rater_share")
    assert found.outcome == "INCONCLUSIVE" and "30 are needed" in found.evidence


@pytest.mark.parametrize("key", ["max_position_deviation", "max_length_deviation"])
def test_a_deviation_that_no_votes_could_show_to_hold_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match=r"less than 0\.5"):
        VoteQualitySpec.model_validate({key: 0.5})
