"""Shingles of texts, the runs of their consecutive words, as 64-bit hashes: whole batches at a time, in numpy.

A shingle's hash is a polynomial of its words' hashes (see `word_batches.py`) modulo 2^64, mixed. Two different
shingles share a hash once in 2^64.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmops_assets.data.duplicates.word_batches import Hashes, Words, batches_of_words, mixed
from llmops_assets.data.normalize import comparison_key

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
        return distinct(self.hashes[self.starts[index] : self.starts[index + 1]])


def shingle_hashes(texts: Iterable[str], size: int) -> Iterator[Shingled]:
    """Yield the shingles of `size` words of all texts, in batches of consecutive texts: see `shingled`."""
    for words in batches_of_words(texts):
        yield shingled(words, size)


def shingled(words: Words, size: int) -> Shingled:
    """Return the shingles of `size` words of all texts of a batch.

    A text with fewer words is one shingle, and so is one without words, with case and white space folded; no text is
    without a shingle.
    """
    firsts, counts = words.firsts, words.counts
    lengths = np.maximum(1, counts - size + 1)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    hashes = np.zeros(starts[-1], np.uint64)
    runs = word_runs(words.hashes, size)
    if len(runs):
        text_of = np.repeat(np.arange(len(counts)), lengths)
        place = np.arange(starts[-1]) - starts[text_of] + firsts[text_of]
        whole = counts[text_of] >= size
        hashes[whole] = runs[place[whole]]
    for index in np.flatnonzero(counts < size):
        hashes[starts[index]] = _short(words.texts[index], words.hashes[firsts[index] : firsts[index + 1]])
    return Shingled(mixed(hashes), starts)


def word_runs(hashes: Hashes, size: int) -> Hashes:
    """Return [words - size + 1]: for each word, unmixed, the hash of the run of `size` words that begins with it."""
    if len(hashes) < size:
        return np.zeros(0, np.uint64)
    last = len(hashes) - size + 1
    runs = hashes[:last].copy()
    for offset in range(1, size):
        runs *= np.uint64(_WORD_BASE)
        runs += hashes[offset : last + offset]
    return runs


def longer(runs: Hashes, following: Hashes) -> Hashes:
    """Return the hashes of `runs` with the word that follows each, as `word_runs` has them."""
    return runs * np.uint64(_WORD_BASE) + following


def distinct(hashes: Hashes) -> Hashes:
    """Return `hashes` sorted, each once; for hashes a sort is quicker than the table that `numpy.unique` makes."""
    return each_once(np.sort(hashes))


def each_once(ordered: Hashes) -> Hashes:
    """Return sorted hashes without those that repeat."""
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if len(ordered) else ordered


def share_in(known: Hashes, shingles: Hashes) -> float:
    """Return the share of `shingles`, at least one, that is in `known`, which is sorted."""
    return float(is_in(known, shingles).mean())


def is_in(known: Hashes, hashes: Hashes) -> NDArray[np.bool_]:
    """Return for each of `hashes` whether it is in `known`, which is sorted."""
    if not len(known):
        return np.zeros(len(hashes), bool)
    places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    return known[places] == hashes


def _short(text: str, words: Hashes) -> np.uint64:
    """Return the hash of a text with fewer words than a shingle, which depends on their number too."""
    total = len(words) + 1
    for value in words.tolist() or map(ord, comparison_key(text)):
        total = (total * _WORD_BASE + value) % 2**64
    return np.uint64(total)
