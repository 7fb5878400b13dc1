"""Shingles as hashes against shingles as words, on texts of many scripts and of odd shapes."""

import random
import subprocess
import sys

import numpy as np
import pytest

from llmops_assets.data.duplicates.shingles import shingle_hashes
from llmops_assets.data.normalize import comparison_key
from llmops_assets.data.words import words_of

ODD = [
    "",
    " \n",
    "!!!",
    "???",
    "one",
    "One ",
    "one two three four",
    "one two three four five",
    "one two three four five six",
    "x_1 + y'z = 3.14e-10; ünïcode ÉÉÉ straße STRASSE",
    "漢字かな交じり文、カタカナ。 mixed 漢字 and words",
    "हिन्दी में लिखा गया एक छोटा सा पाठ",
    "ภาษาไทยเขียนติดกัน and words, \u0301after\u0301 marks ก\u0301a",
    "emoji 👩‍👩‍👧 between words 🎉 and more of them here",
    "lone \ud800 surrogate in a text of some words",
    "a\x00b \u2028 c\tend of the text",
]
ODD += [" ".join(letter * size for letter in "aébb" for size in (7, 8, 9, 15, 16, 17, 63, 64, 65, 66, 200))]
LETTERS = "abcÄß漢字กิ\u0301\u093f \n.,-_1é"


def words_and_hashes(texts: list[str], size: int) -> list[tuple[list[tuple[str, ...]], list[int]]]:
    """Return the shingles of each text twice: as words in order, and as hashes."""
    hashes = [
        batch.hashes[batch.starts[index] : batch.starts[index + 1]].tolist()
        for batch in shingle_hashes(texts, size)
        for index in range(len(batch))
    ]
    shingles = []
    for text in texts:
        words = words_of(text) or [f"no words: {comparison_key(text)}"]
        shingles.append([tuple(words[start : start + size]) for start in range(max(1, len(words) - size + 1))])
    return list(zip(shingles, hashes, strict=True))


@pytest.mark.parametrize("size", [1, 5, 13])
def test_hashes_are_equal_where_words_are_and_nowhere_else(size: int) -> None:
    chance = random.Random(3)
    texts = ODD + ["".join(chance.choices(LETTERS, k=chance.randrange(200))) for _ in range(300)]
    hash_of: dict[tuple[str, ...], int] = {}
    for shingles, hashes in words_and_hashes(texts, size):
        assert len(shingles) == len(hashes)
        for shingle, value in zip(shingles, hashes, strict=True):
            assert hash_of.setdefault(shingle, value) == value
    assert len(set(hash_of.values())) == len(hash_of)


def test_a_text_has_the_same_hashes_in_any_batch() -> None:
    alone = next(shingle_hashes([ODD[10]], 5)).of(0)
    texts = ["filler word " * 20_000, ODD[10], "z " * 100_000, ODD[10]]
    together = [batch.of(index) for batch in shingle_hashes(texts, 5) for index in range(len(batch))]
    assert len(together) == 4
    assert np.array_equal(together[1], alone) and np.array_equal(together[3], alone)


def test_hashes_are_the_same_in_another_process() -> None:
    code = (
        "from llmops_assets.data.duplicates.shingles import shingle_hashes; "
        "print(next(shingle_hashes(['The same text has the same hashes.'], 3)).hashes.tolist())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str(next(shingle_hashes(["The same text has the same hashes."], 3)).hashes.tolist())


def test_no_texts_have_no_shingles() -> None:
    assert list(shingle_hashes([], 5)) == []
