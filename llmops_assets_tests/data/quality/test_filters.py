import random

import numpy as np
import pytest

from llmops_assets.data.duplicates.word_batches import words_in
from llmops_assets.data.quality.filters import Verdict, repetition, verdicts
from llmops_assets.data.quality.repetition import repeated_phrases
from llmops_assets.data.records import Reason
from llmops_assets.data.specs import CorpusSpec
from llmops_assets.data.words import words_of

PROSE = (
    "A sentence about one thing stands here.\nAnother one follows it and is about something else.\n"
    "The third sentence ends the paragraph, and says nothing that was said before."
)


def verdict_on(text: str, spec: CorpusSpec) -> Verdict | None:
    return verdicts(words_in([text]), spec)[0]


def test_prose_passes() -> None:
    assert verdict_on(PROSE, CorpusSpec(min_words=20)) is None
    assert repetition(PROSE) == 0


def test_short_text_is_dropped_with_its_word_count() -> None:
    verdict = verdict_on("Three little words", CorpusSpec(min_words=4))
    assert verdict is not None and verdict[0] == Reason.TOO_SHORT and "3 words" in verdict[1]


def test_repeated_lines_are_dropped() -> None:
    text = "\n".join(["Subscribe to our newsletter today"] * 4 + [PROSE])
    verdict = verdict_on(text, CorpusSpec(min_words=5, max_repetition=0.3))
    assert verdict is not None and verdict[0] == Reason.REPETITIVE


def test_repetition_without_line_breaks_is_seen() -> None:
    assert repetition("all work and no play makes jack a dull boy " * 20) > 0.9


def test_words_of_other_scripts_count() -> None:
    assert words_of("Ein Wort, 漢字かな и слово") == ["ein", "wort", "漢", "字", "か", "な", "и", "слово"]
    assert words_of("हिन्दी में ก็ดี カー") == ["हिन्दी", "में", "ก็", "ดี", "カ", "ー"], "marks belong to what they follow"
    assert verdict_on("один два три четыре пять", CorpusSpec(min_words=5)) is None


@pytest.mark.parametrize(
    ("rule", "text", "reason", "figure"),
    [
        ({"max_words": 5}, "one two three four five six", Reason.TOO_LONG, "6 words"),
        ({"min_word_characters": 3}, "a b c d to be or", Reason.WORD_LENGTH, "1.4 characters"),
        (
            {"max_word_characters": 10},
            "Donaudampfschifffahrt Rindfleischetikett",
            Reason.WORD_LENGTH,
            "19.5 characters",
        ),
        ({"max_symbols": 0.1}, "#one #two three four", Reason.SYMBOLS, "0.50 # and ellipses"),
        ({"max_symbols": 0.1}, "wait… for... it", Reason.SYMBOLS, "0.67"),
        ({"max_bullet_lines": 0.9}, "- one\n* two\n• three", Reason.BULLETS, "100% of its lines"),
        ({"max_ellipsis_lines": 0.3}, "Read more...\nAnd this.\nAlso this …", Reason.ELLIPSES, "67% of its lines"),
        ({"min_alphabetic_words": 0.8}, "12 34 56 seven", Reason.FEW_LETTERS, "25% of its words"),
        ({"min_stop_words": 2}, "the quick brown fox", Reason.FEW_STOP_WORDS, "1 English"),
        (
            {"max_boilerplate_lines": 0.2},
            "We use cookies here.\nA sentence.\nRead our Privacy Policy",
            Reason.BOILERPLATE,
            "67% of its lines",
        ),
        ({"max_boilerplate_lines": 0.0}, "Lorem ipsum dolor sit amet", Reason.BOILERPLATE, "100%"),
    ],
)
def test_a_rule_that_is_on_rejects_with_its_reason_and_figure(
    rule: dict[str, float], text: str, reason: Reason, figure: str
) -> None:
    off = CorpusSpec(min_words=1)
    assert verdict_on(text, off) is None
    verdict = verdict_on(text, off.model_copy(update=rule))
    assert verdict is not None and verdict[0] == reason and figure in verdict[1]
    assert next(iter(rule)) in verdict[1]
    assert not reason.is_malformed
    assert verdict_on(PROSE, off.model_copy(update={**rule, **LOOSE.get(next(iter(rule)), {})})) is None


# Where prose needs another limit than the text of the case.
LOOSE = {"max_words": {"max_words": 100}}


def test_prose_passes_all_rules_of_gopher() -> None:
    gopher = CorpusSpec(
        min_words=20,
        max_words=100_000,
        min_word_characters=3,
        max_word_characters=10,
        max_symbols=0.1,
        max_bullet_lines=0.9,
        max_ellipsis_lines=0.3,
        min_alphabetic_words=0.8,
        min_stop_words=2,
        max_boilerplate_lines=0.2,
    )
    assert verdict_on(PROSE, gopher) is None


def _repeated_words(words: list[str], size: int) -> set[int]:
    """The places of words in runs that stood before, by looking at all runs."""
    seen: set[tuple[str, ...]] = set()
    covered: set[int] = set()
    for start in range(len(words) - size + 1):
        run = tuple(words[start : start + size])
        covered |= set(range(start, start + size)) if run in seen else set()
        seen.add(run)
    return covered


@pytest.mark.parametrize("size", [2, 5, 10])
def test_repeated_phrases_are_those_that_counting_finds_and_none_of_another_text(size: int) -> None:
    chance = random.Random(size)
    texts = [" ".join(chance.choices("abcdef"[: chance.randint(1, 6)], k=chance.randrange(60))) for _ in range(200)]
    texts += ["", "!", "漢字漢字漢字 mixed mixed mixed"]
    words = words_in(texts)
    repeated = repeated_phrases(words, size)
    for number, text in enumerate(texts):
        found = np.flatnonzero(repeated[words.firsts[number] : words.firsts[number + 1]]).tolist()
        assert set(found) == _repeated_words(words_of(text), size)


@pytest.mark.parametrize(
    ("text", "figure"),
    [
        ("Read this now.\n" * 4 + PROSE, "43% of its lines are repeated"),
        ("One part.\n\n" * 3 + PROSE + "\nTwo\nThree\nFour", "50% of its paragraphs"),
        (PROSE + "\n" + PROSE.splitlines()[1], "in repeated lines"),
        ("big data " * 12 + PROSE.replace("\n", " "), "one phrase of 2 words"),
        (
            " ".join(f"w{number % 60:02}" for number in range(72)),
            "17% of its characters are in repeated phrases of 5 words",
        ),
    ],
)
def test_gophers_rules_on_repetition_name_what_is_repeated(text: str, figure: str) -> None:
    spec = CorpusSpec(min_words=1, max_repetition=1)
    assert verdict_on(text, spec) is None
    verdict = verdict_on(text, spec.model_copy(update={"gopher_repetition": True}))
    assert verdict is not None and verdict[0] == Reason.REPETITIVE and figure in verdict[1], verdict


def test_a_batch_gets_the_verdicts_that_its_texts_get_alone() -> None:
    chance = random.Random(5)
    lines = [" ".join(chance.choices([*PROSE.split(), "#", "7", "..."], k=chance.randint(1, 9))) for _ in range(40)]
    texts = ["\n".join(chance.choices(lines[: chance.randint(1, 40)], k=chance.randint(0, 12))) for _ in range(150)]
    spec = CorpusSpec(min_words=10, gopher_repetition=True, max_symbols=0.2, min_alphabetic_words=0.9, min_stop_words=3)
    together = verdicts(words_in(texts), spec)
    assert together == [verdict_on(text, spec) for text in texts]
    assert len({verdict and verdict[0] for verdict in together}) >= 5
