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
        ("Copy the file src to dst.", "Copy a file to some other place.", "left"),
        ("Copy something.", "Copy src.", "right"),
        ("Copy src now please.", "Copy src.", "right"),
        ("Copy src.", "Move src.", "tie"),
        ("dst dst dst dst", "src dst", "right"),
    ],
)
def test_more_own_words_win_then_the_shorter_answer(left: str, right: str, verdict: str) -> None:
    assert rate(QUESTION, left, right) == verdict
    mirrored = {"left": "right", "right": "left", "tie": "tie"}
    assert rate(QUESTION, right, left) == mirrored[verdict]
