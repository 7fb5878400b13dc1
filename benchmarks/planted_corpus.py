"""A corpus file of any size with planted duplicates and planted documents of low quality, and the truth about them.

Each document follows from its number alone, so that a copy makes its original again, and no text is held. Documents
have lines of twelve words; some have the line ends and the spaces that normalization removes.

Documents of low quality break a rule by far, so that it does not matter how a program counts words or shares: too few
words; the same passage again and again; one word in three a `#` or an ellipsis; two lines in three about cookies and
privacy.
"""

import json
import random
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate
from pathlib import Path

from benchmarks.planted import Vocabulary, copy_of

SEED = 7
_LINE_WORDS = 12
_ALWAYS_CLEAN = 100


class Kind(IntEnum):
    """What a document was planted as. A near copy below the threshold must stay, as a clean document must."""

    CLEAN = 0
    EXACT_COPY = 1
    NEAR_COPY = 2
    NEAR_MISS = 3
    SHORT = 4
    REPETITIVE = 5
    SYMBOLS = 6
    BOILERPLATE = 7


LOW_QUALITY = (Kind.SHORT, Kind.REPETITIVE, Kind.SYMBOLS, Kind.BOILERPLATE)
_SHARES = {
    Kind.CLEAN: 0.70,
    Kind.EXACT_COPY: 0.05,
    Kind.NEAR_COPY: 0.10,
    Kind.NEAR_MISS: 0.05,
    Kind.SHORT: 0.03,
    Kind.REPETITIVE: 0.03,
    Kind.SYMBOLS: 0.02,
    Kind.BOILERPLATE: 0.02,
}
_BOUNDS = list(accumulate(_SHARES.values()))


@dataclass(frozen=True)
class Corpus:
    """A JSONL file of documents, the kind of each, and the original of each copy at or above the threshold."""

    file: Path
    kinds: array
    original_of: dict[int, int]

    def __len__(self) -> int:
        return len(self.kinds)


def make_corpus(file: Path, count: int) -> Corpus:
    """Write `count` documents to `file`, one after the other; the same for the same count."""
    # No numbers: a tokenizer that counts full stops as words would find too few with a letter in clean documents.
    vocabulary = Vocabulary(r"[a-z]\w*")
    kinds = array("B")
    original_of: dict[int, int] = {}
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        for number in range(count):
            kind, text, original = _document(number, vocabulary)
            kinds.append(kind)
            if original is not None and kind is not Kind.NEAR_MISS:
                original_of[number] = original
            stream.write(json.dumps({"id": f"document-{number}", "text": text}, ensure_ascii=False) + "\n")
    return Corpus(file, kinds, original_of)


def _begin(number: int) -> tuple[Kind, random.Random]:
    """Return the kind of a document and the chance that draws all the rest of it."""
    chance = random.Random(f"{SEED} {number}")
    draw = chance.random()
    if number < _ALWAYS_CLEAN:
        return Kind.CLEAN, chance
    return next((kind for kind, bound in zip(_SHARES, _BOUNDS, strict=True) if draw < bound), Kind.CLEAN), chance


def _document(number: int, vocabulary: Vocabulary) -> tuple[Kind, str, int | None]:
    kind, chance = _begin(number)
    if kind in _LOW_TEXTS:
        return kind, _LOW_TEXTS[kind](vocabulary, chance), None
    if kind is Kind.CLEAN:
        return kind, _with_loose_ends(_lines(vocabulary.text(chance)), chance), None
    original, words = _an_original(number, vocabulary, chance)
    if kind is not Kind.EXACT_COPY:
        words, alike = copy_of(words, kind is Kind.NEAR_COPY, chance)
        # Replaced words that lie close together change fewer shingles than counted.
        kind = Kind.NEAR_COPY if alike else Kind.NEAR_MISS
    return kind, _with_loose_ends(_lines(words), chance), original


def _an_original(number: int, vocabulary: Vocabulary, chance: random.Random) -> tuple[int, list[str]]:
    while True:
        original = chance.randrange(number)
        kind, its_chance = _begin(original)
        if kind is Kind.CLEAN:
            return original, vocabulary.text(its_chance)


def _lines(words: list[str]) -> str:
    rows = [words[start : start + _LINE_WORDS] for start in range(0, len(words), _LINE_WORDS)]
    return "\n".join(" ".join(row).capitalize() + "." for row in rows)


def _with_loose_ends(text: str, chance: random.Random) -> str:
    draw = chance.random()
    if draw < 0.05:
        return text.replace("\n", "\r\n")
    if draw < 0.10:
        return text.replace("\n", " \n\n")
    return text


def _short(vocabulary: Vocabulary, chance: random.Random) -> str:
    return _lines(vocabulary.words(chance.randint(5, 35), chance))


def _repetitive(vocabulary: Vocabulary, chance: random.Random) -> str:
    passage = vocabulary.words(3 * _LINE_WORDS, chance)
    times = chance.randint(8, 12)
    # Repeated lines, or one long line that only its phrases give away.
    return _lines(passage * times) if chance.random() < 0.5 else " ".join(passage * times)


def _symbols(vocabulary: Vocabulary, chance: random.Random) -> str:
    words = vocabulary.text(chance)
    return _lines([word if chance.random() < 2 / 3 else chance.choice(["#", "..."]) for word in words])


def _boilerplate(vocabulary: Vocabulary, chance: random.Random) -> str:
    phrases = ("we use cookies", "see our privacy policy", "read the terms of use", "this is our cookie policy")
    notices = [[*vocabulary.words(9, chance), *chance.choice(phrases).split()] for _ in range(10)]
    others = [vocabulary.words(8, chance) for _ in range(5)]
    rows = [*notices, *others]
    chance.shuffle(rows)
    return "\n".join(" ".join(row).capitalize() + "." for row in rows)


_LOW_TEXTS: dict[Kind, Callable[[Vocabulary, random.Random], str]] = {
    Kind.SHORT: _short,
    Kind.REPETITIVE: _repetitive,
    Kind.SYMBOLS: _symbols,
    Kind.BOILERPLATE: _boilerplate,
}
