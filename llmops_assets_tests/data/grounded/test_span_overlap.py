"""How much of an answer a text says in the same words."""

import pytest

from llmops_assets.data.grounded.span_overlap import span_overlap

TEXT = "the bridge was built in 1883 and carries two roads over the river"


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("built in 1883", 1.0),
        ("it was built in 1883", 0.8),
        ("was built in 1883 and carries", 1.0),
        ("the bridge was over the river", 1.0),
        ("1883 the in built was bridge", 0.0),
        ("over river roads", 0.0),
        ("1883", 1.0),
        ("1884", 0.0),
        ("", 0.0),
    ],
)
def test_the_share_of_words_in_common_spans(answer: str, share: float) -> None:
    assert span_overlap(answer.split(), TEXT.split(), 3) == pytest.approx(share)


def test_shorter_spans_count_if_they_may() -> None:
    assert span_overlap(["the", "two", "roads"], TEXT.split(), 3) == 0.0
    assert span_overlap(["the", "two", "roads"], TEXT.split(), 2) == pytest.approx(2 / 3)
    assert span_overlap(["the"], [], 2) == 0.0
