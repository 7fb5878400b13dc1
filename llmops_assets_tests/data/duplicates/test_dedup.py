import random

import pytest

from llmops_assets.data.duplicates.dedup import SHINGLE_WORDS, band_rows, find_duplicates
from llmops_assets.data.records import Reason
from llmops_assets.data.words import words_of

WORDS = [f"word{number}" for number in range(2000)]


def _text(seed: int, length: int = 120) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def similarity(left: str, right: str) -> float:
    """The Jaccard similarity of the shingles, as sets of words."""
    sets = []
    for text in (left, right):
        words = words_of(text)
        sets.append({tuple(words[i : i + SHINGLE_WORDS]) for i in range(max(1, len(words) - SHINGLE_WORDS + 1))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_planted_near_duplicate_is_found_and_the_first_one_stays() -> None:
    texts = [_text(seed) for seed in range(50)]
    words = texts[7].split()
    words[60] = "changed"
    texts.append(" ".join(words))

    [duplicate] = find_duplicates(texts, 0.8)

    assert (duplicate.index, duplicate.kept, duplicate.reason) == (50, 7, Reason.NEAR_DUPLICATE)
    assert duplicate.similarity == pytest.approx(similarity(texts[7], texts[50]))
    assert 0.8 <= duplicate.similarity < 1


def test_every_pair_above_the_threshold_is_found_and_none_below() -> None:
    texts: list[str] = []
    for seed in range(40):
        words = _text(seed).split()
        texts.append(" ".join(words))
        for position in range(seed % 5):
            words[position * 25 + 10] = "changed"
        texts.append(" ".join(words) + " end")
    expected = {index + 1 for index in range(0, len(texts), 2) if similarity(texts[index], texts[index + 1]) >= 0.8}
    assert 0 < len(expected) < 40
    assert {duplicate.index for duplicate in find_duplicates(texts, 0.8)} == expected


def test_copies_of_a_copy_are_compared_with_the_one_that_stays() -> None:
    words = _text(3, 200).split()
    texts = [" ".join(words)]
    for step in range(12):  # each is like the one before it, the later ones not like the first
        words[step * 16 + 5] = "changed"
        texts.append(" ".join(words))
    found = {duplicate.index: duplicate.kept for duplicate in find_duplicates(texts, 0.8)}
    kept: list[int] = []
    for index, text in enumerate(texts):
        alike = [other for other in kept if similarity(texts[other], text) >= 0.8]
        assert found.get(index) == (alike[0] if alike else None)
        kept += [] if alike else [index]
    assert len(kept) > 1


def test_duplicates_far_apart_are_found_among_thousands_of_texts() -> None:
    texts = [_text(seed, 30) for seed in range(5000)]
    planted = {4000 + number: number * 37 for number in range(100)}
    for index, original in planted.items():
        texts[index] = f"{texts[original]} end"
    found = {duplicate.index: duplicate.kept for duplicate in find_duplicates(texts, 0.8)}
    assert found == planted


def test_exact_duplicates_fold_case_and_white_space() -> None:
    duplicates = find_duplicates(["Close the file.", "Open it.", "close  the\nfile."], 0.8)
    assert [(d.index, d.kept, d.reason) for d in duplicates] == [(2, 0, Reason.EXACT_DUPLICATE)]


def test_short_texts_with_different_words_are_not_duplicates() -> None:
    assert find_duplicates(["Return x.", "Return y.", "", "漢字", "!!!", "???"], 0.8) == []


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.95])
def test_bands_miss_at_most_one_in_a_thousand(threshold: float) -> None:
    rows = band_rows(threshold)
    assert (1 - threshold**rows) ** (128 // rows) <= 0.001
