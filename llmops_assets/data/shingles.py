"""Shingles of texts, the runs of their consecutive words, as 64-bit hashes: whole batches at a time, in numpy.

Words are those of `filters.words_of`: case folded, a character each in scripts without spaces. A word's hash is a
polynomial of its code points, a shingle's one of its words' hashes, both modulo 2^64 with odd bases (Karp and Rabin
1987), mixed by the finalizer of splitmix64. The same text has the same hashes on every machine and in every process.
Two different shingles share a hash once in 2^64.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from llmops_assets.data.filters import UNSPACED
from llmops_assets.data.normalize import comparison_key

Hashes = NDArray[np.uint64]
# Arrays of a batch then stay in a core's second-level cache.
_BATCH_CHARACTERS = 1 << 17
_CODE_POINTS = 0x110000
# Above all code points.
_ALONE = 1 << 31
_CHARACTER_BASE = 0x9E3779B97F4A7C15
_WORD_BASE = 0xC2B2AE3D27D4EB4F


@dataclass(frozen=True, slots=True)
class Shingled:
    """The shingles of some texts: those of text number i are `hashes[starts[i]:starts[i + 1]]`, in their order."""

    hashes: Hashes
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, index: int) -> Hashes:
        """Return the set of shingles of one text: sorted, each once."""
        ordered = np.sort(self.hashes[self.starts[index] : self.starts[index + 1]])
        return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])]


def shingle_hashes(texts: Iterable[str], size: int) -> Iterator[Shingled]:
    """Yield the shingles of `size` words of all texts, in batches of consecutive texts.

    A text with fewer words is one shingle, and so is one without words, with case and white space folded; no text is
    without a shingle.
    """
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= _BATCH_CHARACTERS:
            yield _shingled(batch, size)
            batch, characters = [], 0
    if batch:
        yield _shingled(batch, size)


def share_in(known: Hashes, shingles: Hashes) -> float:
    """Return the share of `shingles`, at least one, that is in `known`, which is sorted."""
    if not len(known):
        return 0.0
    places = np.minimum(np.searchsorted(known, shingles), len(known) - 1)
    return float((known[places] == shingles).mean())


def _shingled(texts: list[str], size: int) -> Shingled:
    folded = [text.casefold() for text in texts]
    ends = np.cumsum(np.fromiter((len(text) + 1 for text in folded), np.int64, len(folded)))
    # A line break between texts ends their last words.
    words, word_starts = word_hashes("\n".join([*folded, ""]))
    # Number of the first word of each text, and one past the last.
    firsts = np.searchsorted(word_starts, np.concatenate([[0], ends]))
    counts = np.diff(firsts)
    lengths = np.maximum(1, counts - size + 1)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    hashes = np.zeros(starts[-1], np.uint64)
    if len(words) >= size:
        runs = run_hashes(words, size)
        text_of = np.repeat(np.arange(len(texts)), lengths)
        place = np.arange(starts[-1]) - starts[text_of] + firsts[text_of]
        whole = counts[text_of] >= size
        hashes[whole] = runs[place[whole]]
    for index in np.flatnonzero(counts < size):
        hashes[starts[index]] = _short(texts[index], words[firsts[index] : firsts[index + 1]])
    return Shingled(_mixed(hashes), starts)


def run_hashes(words: Hashes, size: int) -> Hashes:
    """Return the hash of each run of `size` of at least that many words, not yet mixed."""
    runs = words[: len(words) - size + 1].copy()
    for offset in range(1, size):
        runs *= np.uint64(_WORD_BASE)
        runs += words[offset : len(words) - size + 1 + offset]
    return runs


def word_hashes(text: str) -> tuple[Hashes, NDArray[np.int64]]:
    """Return the hash of every word in a folded text, and the place of its first character."""
    values, begins = _ascii_letters(text) if text.isascii() else _letters(text)
    starts = np.flatnonzero(begins)
    if not len(starts):
        return np.zeros(0, np.uint64), starts
    powers, inverses = _powers(len(values))
    # The terms of a word and those of the separators behind it, which are 0, up to the next word.
    sums = np.add.reduceat(values * powers[: len(values)], starts)
    return _mixed(sums * inverses[starts]), starts


def _ascii_letters(text: str) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the code of each character, 0 outside words, and where words begin: `_letters` for ASCII, and faster."""
    values = np.frombuffer(text.encode("ascii").translate(_ascii_table()), np.uint8)
    inside = values != 0
    begins = inside.copy()
    begins[1:] &= ~inside[:-1]
    return values, begins


def _letters(text: str) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    values = _table()[codes]
    inside, alone = values != 0, values >= _ALONE
    begins = inside.copy()
    begins[1:] &= ~inside[:-1] | alone[1:] | alone[:-1]
    return values, begins


def _short(text: str, words: Hashes) -> np.uint64:
    """Return the hash of a text with fewer words than a shingle, which depends on their number too."""
    total = len(words) + 1
    for value in words.tolist() or map(ord, comparison_key(text)):
        total = (total * _WORD_BASE + value) % 2**64
    return np.uint64(total)


def _mixed(values: Hashes) -> Hashes:
    """Return `values` with their bits spread (splitmix64: Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@cache
def _table() -> NDArray[np.uint32]:
    """Return for each code point itself, `_ALONE` more if it is a word by itself, and 0 if it belongs to no word."""
    codes = np.arange(_CODE_POINTS, dtype=np.uint32)
    characters = codes.tobytes().decode("utf-32-le", "surrogatepass")
    table = np.zeros_like(codes)
    for pattern, more in ((r"\w+", 0), (f"[{UNSPACED}]+", _ALONE)):
        for match in re.finditer(pattern, characters):
            table[match.start() : match.end()] = codes[match.start() : match.end()] + np.uint32(more)
    return table


@cache
def _ascii_table() -> bytes:
    return bytes(_table()[:128].tolist()).ljust(256, b"\0")


@cache
def _powers_of_a_batch() -> tuple[Hashes, Hashes]:
    return _powers_of(2 * _BATCH_CHARACTERS)


def _powers_of(count: int) -> tuple[Hashes, Hashes]:
    inverse = pow(_CHARACTER_BASE, -1, 2**64)
    tables = []
    for base in (_CHARACTER_BASE, inverse):
        table = np.full(count, base, np.uint64)
        table[0] = 1
        tables.append(np.multiply.accumulate(table))
    return tables[0], tables[1]


def _powers(length: int) -> tuple[Hashes, Hashes]:
    """Return the powers of the base and of its inverse, at least `length` of them; a long text's are not kept."""
    return _powers_of_a_batch() if length <= 2 * _BATCH_CHARACTERS else _powers_of(length)
