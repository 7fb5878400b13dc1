"""The words of texts, whole batches at a time, as numpy arrays: their hashes, their lengths, and what they are made of.

Words are those of `words.py`. The hash of one is made of its bytes in UTF-8, eight at a time, by the finalizer of
splitmix64 (Steele, Lea and Flood 2014), so that a word costs a few operations and not some for each character. The same
text has the same hashes on every machine and in every process. Words of up to eight bytes never share a hash, others
once in 2^64.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from llmops_assets.data.words import INSIDE_WORDS, MARK, UNSPACED

Hashes = NDArray[np.uint64]
# Arrays of a batch then stay in a core's second-level cache.
_BATCH_CHARACTERS = 1 << 17
_CODE_POINTS = 0x110000
_BASE = np.uint64(0x9E3779B97F4A7C15)
# Words of more bytes, such as lines of base64, are hashed one by one.
_LONG = 64
_MASKS = np.array([2 ** (8 * size) - 1 for size in range(9)], np.uint64)
_LETTER, _ALONE, _MARK = 1, 2, 3


@dataclass(frozen=True)
class Words:
    """The words of some texts: those of text number i are `hashes[firsts[i]:firsts[i + 1]]`, in their order.

    `folded` are the texts with case folded, each with a line break behind it, `starts` where words begin in it,
    and `lengths` how many characters they have.
    """

    texts: list[str]
    hashes: Hashes
    firsts: NDArray[np.int64]
    folded: str
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """[texts]: how many words a text has."""
        return np.diff(self.firsts)

    @cached_property
    def text_of(self) -> NDArray[np.int64]:
        """[words]: the number of the text that a word belongs to."""
        return np.repeat(np.arange(len(self.texts)), self.counts)

    @cached_property
    def alphabetic(self) -> NDArray[np.bool_]:
        """[words]: whether there is a letter in a word."""
        if not len(self.starts):
            return np.zeros(0, bool)
        codes = np.frombuffer(self.folded.encode("utf-32-le", "surrogatepass"), np.uint32)
        # What stands between two words is no letter, so it does not matter that it is counted with the first.
        return np.logical_or.reduceat(_letter_table()[codes], self.starts)

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
    if whole.isascii():
        raw = whole.encode("ascii")
        starts, lengths = _words(np.frombuffer(raw.translate(_ascii_kinds()), np.uint8))
        hashes = _hashes_of(raw, starts, lengths)
    else:
        codes = np.frombuffer(whole.encode("utf-32-le", "surrogatepass"), np.uint32)
        starts, lengths = _words(_kinds()[codes])
        widths = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
        places = np.concatenate([[0], np.cumsum(widths)])
        begins = places[starts]
        hashes = _hashes_of(whole.encode("utf-8", "surrogatepass"), begins, places[starts + lengths] - begins)
    # Number of the first word of each text, and one past the last.
    firsts = np.searchsorted(starts, np.concatenate([[0], ends]))
    return Words(texts, hashes, firsts, whole, starts, lengths)


def mixed(values: Hashes) -> Hashes:
    """Return `values` with their bits spread, each to another one."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _words(kinds: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where words begin, and how many characters they have, given the kind of each character."""
    inside = kinds > 0
    outside = ~inside
    begins = inside.copy()
    begins[1:] &= outside[:-1] if kinds.max(initial=0) < _ALONE else _breaks(kinds)
    # The last character is a line break, so that each word has one behind it.
    ends = inside[:-1] & (outside | begins)[1:]
    starts = np.flatnonzero(begins)
    return starts, np.flatnonzero(ends) + 1 - starts


def _breaks(kinds: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return for each character but the first whether a word that it is in begins with it."""
    places = np.where(kinds == _MARK, 0, np.arange(len(kinds)))
    # A mark belongs to what it follows, and to the letter behind it if it follows nothing.
    marked = kinds[np.maximum.accumulate(places)]
    follows_alone = (marked == _ALONE)[:-1] & (kinds != _MARK)[1:]
    return (kinds == 0)[:-1] | (kinds == _ALONE)[1:] | follows_alone


def _hashes_of(raw: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Hashes:
    """Return the hash of every word, given where it starts in `raw` and how many bytes it has."""
    # Element i is made of the eight bytes from byte i on.
    eights = np.ndarray((len(raw),), "<u8", raw + bytes(8), strides=(1,))
    hashes = mixed(eights[starts] & _MASKS[np.minimum(lengths, 8)])
    longer = np.flatnonzero(lengths > 8)
    done = 8
    while len(longer) and done < _LONG:
        more = eights[starts[longer] + done] & _MASKS[np.minimum(lengths[longer] - done, 8)]
        hashes[longer] = mixed(hashes[longer] * _BASE + more)
        done += 8
        longer = longer[lengths[longer] > done]
    for word in longer.tolist():
        whole = raw[starts[word] : starts[word] + lengths[word]]
        hashes[word] = int.from_bytes(hashlib.blake2b(whole, digest_size=8).digest(), "little")
    return hashes


@cache
def _kinds() -> NDArray[np.uint8]:
    """Return for each code point whether it is a letter of a word, a word alone, a mark, or in no word (0)."""
    characters = np.arange(_CODE_POINTS, dtype=np.uint32).tobytes().decode("utf-32-le", "surrogatepass")
    kinds = np.zeros(_CODE_POINTS, np.uint8)
    for pattern, kind in ((INSIDE_WORDS, _LETTER), (UNSPACED, _ALONE), (MARK, _MARK)):
        kinds[[match.start() for match in pattern.finditer(characters)]] = kind
    return kinds


@cache
def _ascii_kinds() -> bytes:
    return bytes(_kinds()[:128]).ljust(256, b"\0")


@cache
def _letter_table() -> NDArray[np.bool_]:
    return np.fromiter((chr(code).isalpha() for code in range(_CODE_POINTS)), bool, _CODE_POINTS)
