from llmops_assets.data.filters import reason_to_drop, repetition, words_of
from llmops_assets.data.records import Reason
from llmops_assets.data.specs import CorpusSpec

PROSE = (
    "A sentence about one thing stands here.\nAnother one follows it and is about something else.\n"
    "The third sentence ends the paragraph, and says nothing that was said before."
)


def test_prose_passes() -> None:
    assert reason_to_drop(PROSE, CorpusSpec(min_words=20)) is None
    assert repetition(PROSE) == 0


def test_short_text_is_dropped_with_its_word_count() -> None:
    verdict = reason_to_drop("Three little words", CorpusSpec(min_words=4))
    assert verdict is not None and verdict[0] == Reason.TOO_SHORT and "3 words" in verdict[1]


def test_repeated_lines_are_dropped() -> None:
    text = "\n".join(["Subscribe to our newsletter today"] * 4 + [PROSE])
    verdict = reason_to_drop(text, CorpusSpec(min_words=5, max_repetition=0.3))
    assert verdict is not None and verdict[0] == Reason.REPETITIVE


def test_repetition_without_line_breaks_is_seen() -> None:
    assert repetition("all work and no play makes jack a dull boy " * 20) > 0.9


def test_words_of_other_scripts_count() -> None:
    assert words_of("Ein Wort, 漢字かな и слово") == ["ein", "wort", "漢", "字", "か", "な", "и", "слово"]
    assert reason_to_drop("один два три четыре пять", CorpusSpec(min_words=5)) is None
