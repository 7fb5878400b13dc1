import random

import pytest

from llmops_assets.data.dedup import band_rows, find_duplicates, jaccard, shingles_of
from llmops_assets.data.records import Reason

WORDS = [f"word{number}" for number in range(2000)]


def _text(seed: int, length: int = 120) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def test_planted_near_duplicate_is_found_and_the_first_one_stays() -> None:
    texts = [_text(seed) for seed in range(50)]
    words = texts[7].split()
    words[60] = "changed"
    texts.append(" ".join(words))

    [duplicate] = find_duplicates(texts, 0.8)

    assert (duplicate.index, duplicate.kept, duplicate.reason) == (50, 7, Reason.NEAR_DUPLICATE)
    assert duplicate.similarity == pytest.approx(jaccard(shingles_of(texts[7]), shingles_of(texts[50])))
    assert 0.8 <= duplicate.similarity < 1


def test_every_pair_above_the_threshold_is_found_and_none_below() -> None:
    texts: list[str] = []
    for seed in range(40):
        words = _text(seed).split()
        texts.append(" ".join(words))
        for position in range(seed % 5):
            words[position * 25 + 10] = "changed"
        texts.append(" ".join(words) + " end")
    expected = {
        index + 1
        for index in range(0, len(texts), 2)
        if jaccard(shingles_of(texts[index]), shingles_of(texts[index + 1])) >= 0.8
    }
    assert 0 < len(expected) < 40
    assert {duplicate.index for duplicate in find_duplicates(texts, 0.8)} == expected


def test_exact_duplicates_fold_case_and_white_space() -> None:
    duplicates = find_duplicates(["Close the file.", "Open it.", "close  the\nfile."], 0.8)
    assert [(d.index, d.kept, d.reason) for d in duplicates] == [(2, 0, Reason.EXACT_DUPLICATE)]


def test_short_texts_with_different_words_are_not_duplicates() -> None:
    assert find_duplicates(["Return x.", "Return y.", "", "漢字", "!!!", "???"], 0.8) == []


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.95])
def test_bands_miss_at_most_one_in_a_thousand(threshold: float) -> None:
    rows = band_rows(threshold)
    assert (1 - threshold**rows) ** (128 // rows) <= 0.001
