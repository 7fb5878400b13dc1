"""The pictures: drawn where there is something to draw, and the same bytes for the same figures."""

import struct
from pathlib import Path

from llmops_assets.evaluation.preference_quality.plots import preference_plots
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


def test_without_votes_and_pairs_nothing_is_drawn(tmp_path: Path) -> None:
    with booth(tmp_path) as made:
        figures = made.report().figures
    assert preference_plots(figures, {"pairs from votes": []}, VoteQualitySpec()) == {}
