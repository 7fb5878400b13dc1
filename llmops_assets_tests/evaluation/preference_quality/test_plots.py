"""The pictures: drawn where there is something to draw, and the same bytes for the same figures."""

import struct
from pathlib import Path

from llmops_assets.evaluation.preference_quality.plots import _told_apart, preference_plots
from llmops_assets.feedback.specs import VoteQualitySpec
from llmops_assets_tests.evaluation.preference_quality.planted import booth


def test_four_questions_have_a_picture_each(tmp_path: Path) -> None:
    with booth(tmp_path) as made:
        made.fair_votes(40)
        figures = made.report().figures
    ratios = {"pairs from votes": [0.5, -0.5, 4.0], "pairs": [1.0], "empty": []}
    plots = preference_plots(figures, ratios, VoteQualitySpec())
    assert set(plots) == {"verdicts", "biases", "raters", "lengths"}
    for picture in plots.values():
        assert picture.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", picture[16:24])
        assert width == 700 and height > 150
    assert preference_plots(figures, ratios, VoteQualitySpec()) == plots


def test_of_many_data_sets_the_smallest_are_one_line() -> None:
    ratios = {f"set {size}": [0.5] * size for size in range(1, 8)}
    told = _told_apart(ratios, 5)
    assert list(told) == ["set 7", "set 6", "set 5", "set 4", "3 others"]
    assert sum(map(len, told.values())) == 28
    assert _told_apart(dict(list(ratios.items())[:5]), 5) == dict(list(ratios.items())[:5])


def test_without_votes_and_pairs_nothing_is_drawn(tmp_path: Path) -> None:
    with booth(tmp_path) as made:
        figures = made.report().figures
    assert preference_plots(figures, {"pairs from votes": []}, VoteQualitySpec()) == {}
