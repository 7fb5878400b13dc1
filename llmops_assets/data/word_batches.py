"""The words of texts, whole batches at a time, as numpy arrays: their hashes, their lengths, and what they are made of.

Words are those of `words.py`. The hash of one is a polynomial of its code points modulo 2^64 with an odd base (Karp
and Rabin 1987), mixed by the finalizer of splitmix64. The same text has the same hashes on every machine and in every
process. Two different words share a hash once in 2^64.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from llmops_assets.data.words import UNSPACED

Hashes = NDArray[np.uint64]
# Arrays of a batch then stay in a core's second-level cache.
_BATCH_CHARACTERS = 1 << 17
_CODE_POINTS = 0x110000
# Above all code points.
_ALONE = 1 << 31
_CHARACTER_BASE = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Words:
    """The words of some texts: those of text number i are `hashes[firsts[i]:firsts[i + 1]]`, in their order."""

    texts: list[str]
    hashes: Hashes
    firsts: NDArray[np.int64]
    _folded: str
    _starts: NDArray[np.int64]
    _inside: NDArray[np.bool_]

    @property
    def counts(self) -> NDArray[np.int64]:
        """[texts]: how many words a text has."""
        return np.diff(self.firsts)

    @cached_property
    def text_of(self) -> NDArray[np.int64]:
        """[words]: the number of the text that a word belongs to."""
        return np.repeat(np.arange(len(self.texts)), self.counts)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """[words]: how many characters a word has."""
        return np.add.reduceat(self._inside, self._starts, dtype=np.int64) if len(self._starts) else self._starts

    @cached_property
    def alphabetic(self) -> NDArray[np.bool_]:
        """[words]: whether there is a letter in a word."""
        if not len(self._starts):
            return np.zeros(0, bool)
        codes = np.frombuffer(self._folded.encode("utf-32-le", "surrogatepass"), np.uint32)
        # What stands between two words is no letter, so it does not matter that it is counted with the first.
        return np.logical_or.reduceat(_letter_table()[codes], self._starts)

    def sums(self, values: NDArray[np.int64] | NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return for each text the sum of the `values` of its words."""
        return np.diff(np.concatenate([[0], np.cumsum(values)])[self.firsts])


def batches_of_words(texts: Iterable[str]) -> Iterator[Words]:
    """Yield the words of all texts, in batches of consecutive texts."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= _BATCH_CHARACTERS:
            yield words_in(batch)
            batch, characters = [], 0
    if batch:
        yield words_in(batch)


def words_in(texts: list[str]) -> Words:
    """Return the words of all of `texts` at once."""
    folded = [text.casefold() for text in texts]
    ends = np.cumsum(np.fromiter((len(text) + 1 for text in folded), np.int64, len(folded)))
    # A line break between texts ends their last words.
    whole = "\n".join([*folded, ""])
    values, begins = _ascii_characters(whole) if whole.isascii() else _characters(whole)
    starts = np.flatnonzero(begins)
    # Number of the first word of each text, and one past the last.
    firsts = np.searchsorted(starts, np.concatenate([[0], ends]))
    return Words(texts, _hashes_of(values, starts), firsts, whole, starts, values != 0)


def mixed(values: Hashes) -> Hashes:
    """Return `values` with their bits spread (splitmix64: Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _hashes_of(values: NDArray[np.uint8] | NDArray[np.uint32], starts: NDArray[np.int64]) -> Hashes:
    """Return the hash of every word, given the value of each character and where words begin."""
    if not len(starts):
        return np.zeros(0, np.uint64)
    powers, inverses = _powers(len(values))
    # Sums up to the next word: the terms of the separators between are 0. Differences of running sums are quicker than
    # `reduceat`, and modulo 2^64 they are exact.
    running = np.cumsum(values * powers[: len(values)])
    sums = running[np.append(starts[1:], len(values)) - 1]
    sums[1:] -= sums[:-1].copy()
    return mixed(sums * inverses[starts])


def _ascii_characters(text: str) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the code of each character, 0 outside words, and where words begin: `_characters`, faster for ASCII."""
    values = np.frombuffer(text.encode("ascii").translate(_ascii_table()), np.uint8)
    inside = values != 0
    begins = inside.copy()
    begins[1:] &= ~inside[:-1]
    return values, begins


def _characters(text: str) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    values = _table()[codes]
    inside, alone = values != 0, values >= _ALONE
    begins = inside.copy()
    begins[1:] &= ~inside[:-1] | alone[1:] | alone[:-1]
    return values, begins


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
def _letter_table() -> NDArray[np.bool_]:
    return np.fromiter((chr(code).isalpha() for code in range(_CODE_POINTS)), bool, _CODE_POINTS)


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
