"""The documented rule of the simulated rater."""

import pytest

from llmops_assets.feedback.simulated_rater import SIMULATED_RATER, api_words, rate

QUESTION = "What does `shutil.copyfile(src, dst, *, follow_symlinks=True)` do?"


def test_its_votes_are_labelled_as_simulated() -> None:
    assert SIMULATED_RATER.kind == "simulated"


def test_the_words_of_an_api_are_those_of_its_name_and_parameters() -> None:
    assert api_words(QUESTION) == {"shutil", "copyfile", "src", "dst", "follow", "symlinks", "true"}


@pytest.mark.parametrize(
    ("left", "right", "verdict"),
    [
        ("Copy the file to another place.", "Copy the file.", "left"),
        ("Copy copy copy copy.", "Copy it.", "right"),
        ("Copy src.", "Copy it.", "left"),
        ("Move it.", "Copy src.", "right"),
        ("Copy src.", "Move src.", "tie"),
    ],
)
def test_more_distinct_words_win_then_more_words_of_the_api(left: str, right: str, verdict: str) -> None:
    assert rate(QUESTION, left, right) == verdict
    mirrored = {"left": "right", "right": "left", "tie": "tie"}
    assert rate(QUESTION, right, left) == mirrored[verdict]
