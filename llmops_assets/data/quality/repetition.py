"""How far texts say again what they said before: by lines, by paragraphs and by phrases."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from llmops_assets.data.duplicates.shingles import longer, word_runs
from llmops_assets.data.duplicates.word_batches import Hashes, Words
from llmops_assets.data.sources.prose import BLANK_LINES

# Gopher (Rae et al. 2021, arXiv 2112.11446, table A1): the largest shares of characters, by words in a phrase.
_MOST_FREQUENT = {2: 0.20, 3: 0.18, 4: 0.16}
_REPEATED = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
_LINES, _PARTS, _LINE_CHARACTERS, _PART_CHARACTERS = 0.30, 0.30, 0.20, 0.20


def repeated_phrases(words: Words, size: int) -> NDArray[np.bool_]:
    """Return [words]: whether a word is in a run of `size` words that its text has had before."""
    _, runs, places = next(_repeated_runs(words, size, size))
    return _covered(words, size, runs, places)


def repeated_lines(text: str) -> tuple[float, float]:
    """Return the share of the lines of `text`, and of their characters, that stand above it already."""
    return _repeated(text.splitlines())


def gopher_verdicts(words: Words) -> list[str | None]:
    """Return for each text the first of Gopher's rules on repetition that it breaks, in words, or None.

    An n-gram counts as repeated from its second occurrence on, and characters are those of words.
    """
    verdicts = [_by_lines(text) for text in words.texts]
    characters = np.maximum(1, words.sums(words.lengths))
    for size, runs, places in _repeated_runs(words, min(_MOST_FREQUENT), max(_REPEATED)):
        if size in _MOST_FREQUENT:
            limit, what = _MOST_FREQUENT[size], f"of its characters are one phrase of {size} words"
            shares = _most_frequent(words, size, runs, places) / characters
        else:
            limit, what = _REPEATED[size], f"of its characters are in repeated phrases of {size} words"
            shares = words.sums(_covered(words, size, runs, places) * words.lengths) / characters
        for index in np.flatnonzero(shares > limit).tolist():
            verdicts[index] = verdicts[index] or f"{shares[index]:.0%} {what}, above Gopher's {limit:.0%}"
    return verdicts


def _by_lines(text: str) -> str | None:
    lines, characters = repeated_lines(text)
    parts, part_characters = _repeated(BLANK_LINES.split(text)) if "\n" in text else (0.0, 0.0)
    rules = (
        (lines, _LINES, "of its lines are repeated"),
        (parts, _PARTS, "of its paragraphs are repeated"),
        (characters, _LINE_CHARACTERS, "of its characters are in repeated lines"),
        (part_characters, _PART_CHARACTERS, "of its characters are in repeated paragraphs"),
    )
    broken = ((share, limit, what) for share, limit, what in rules if share > limit)
    return next((f"{share:.0%} {what}, above Gopher's {limit:.0%}" for share, limit, what in broken), None)


def _repeated(parts: Sequence[str]) -> tuple[float, float]:
    stripped = [part for piece in parts if (part := piece.strip())]
    if len(set(stripped)) == len(stripped):
        return 0.0, 0.0
    times = Counter(stripped)
    characters = sum(len(part) * (count - 1) for part, count in times.items())
    return 1 - len(times) / len(stripped), characters / sum(map(len, stripped))


def _repeated_runs(words: Words, smallest: int, largest: int) -> Iterator[tuple[int, Hashes, NDArray[np.int64]]]:
    """Yield for each size the runs of words that their text has more than once, as keys in order, and their places.

    A run of n + 1 words is repeated only if the run of n words that it begins with is.
    """
    text_of = words.text_of
    last = max(0, len(text_of) - smallest + 1)
    places = np.flatnonzero(text_of[:last] == text_of[smallest - 1 :])
    runs = word_runs(words.hashes, smallest)[places]
    bits = np.uint64(max(1, len(words.texts)).bit_length())
    for size in range(smallest, largest + 1):
        # No two texts share a key.
        keys = (text_of[places].astype(np.uint64) << (np.uint64(64) - bits)) | (runs >> bits)
        order = np.argsort(keys)
        keys = keys[order]
        equal = keys[1:] == keys[:-1]
        repeated = np.concatenate([equal, [False]]) | np.concatenate([[False], equal]) if len(keys) else equal
        order = order[repeated]
        yield size, keys[repeated], places[order]
        order = np.sort(order)
        runs, places = runs[order], places[order]
        inside = (places + size < len(text_of)) & (
            text_of[np.minimum(places + size, len(text_of) - 1)] == text_of[places]
        )
        places = places[inside]
        runs = longer(runs[inside], words.hashes[places + size])


def _covered(words: Words, size: int, keys: Hashes, places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return [words]: whether a word is in a repeated run; the first occurrence of a run repeats nothing."""
    order = np.lexsort((places, keys))
    again = places[order[1:]][keys[order[1:]] == keys[order[:-1]]]
    changes = np.zeros(len(words.hashes) + 1, np.int64)
    np.add.at(changes, again, 1)
    np.add.at(changes, again + size, -1)
    return np.cumsum(changes[:-1]) > 0


def _most_frequent(words: Words, size: int, keys: Hashes, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return [texts]: the characters of the repeated run that makes up the most of a text."""
    most = np.zeros(len(words.texts), np.int64)
    if len(keys):
        begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        counts = np.diff(np.concatenate([begins, [len(keys)]]))
        before = np.concatenate([[0], np.cumsum(words.lengths)])
        first = places[begins]
        np.maximum.at(most, words.text_of[first], counts * (before[first + size] - before[first]))
    return most
