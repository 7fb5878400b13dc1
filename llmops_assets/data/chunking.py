"""Cuts documents into chunks of a bounded number of tokens, at paragraphs where possible, losing nothing."""

import re
from bisect import bisect_left
from collections.abc import Iterator
from itertools import pairwise

from llmops_assets.data.tokens import TokenCounter

# From the best place to cut to the worst; each keeps its separator at the end of the piece before it.
_BOUNDARIES = (re.compile(r"\n[ \t]*\n+"), re.compile(r"\n"), re.compile(r"(?<=[.!?;。\uff01\uff1f])\s+"))
_WORD_START = re.compile(r"(?<=\s)\S")


def chunk(text: str, limit: int, counter: TokenCounter) -> list[str]:
    """Return consecutive pieces of `text` of at most `limit` tokens each; their concatenation is `text`.

    Cuts at blank lines; inside a paragraph that is too long at line ends, then sentences, then near the middle.
    """
    starts = counter.token_starts(text)
    if len(starts) <= limit:
        return [text]
    chunks: list[str] = []
    begin = 0
    for start, end in _Pieces(text, starts, limit).of(0, len(text), 0):
        if start > begin and _tokens(starts, begin, end) > limit:
            chunks += _checked(text[begin:start], limit, counter)
            begin = start
    return chunks + _checked(text[begin:], limit, counter)


def overlapping(pieces: list[str], overlap: int, limit: int, counter: TokenCounter) -> list[str]:
    """Return `pieces` with the last words of each, at most `overlap` tokens, before the next one too.

    No result has more than `limit` tokens, if no piece has.
    """
    return pieces[:1] + [_with_tail(before, piece, overlap, limit, counter) for before, piece in pairwise(pieces)]


def _with_tail(before: str, piece: str, overlap: int, limit: int, counter: TokenCounter) -> str:
    starts = counter.token_starts(before)
    place = starts[-overlap] if len(starts) > overlap else 0
    while place < len(before):
        word = _WORD_START.search(before, place) if place else re.search(r"\S", before)
        if word is None:
            break
        tail = before[word.start() :]
        if counter.count(tail) <= overlap and counter.count(tail + piece) <= limit:
            return tail + piece
        place = word.end()
    return piece


class _Pieces:
    """Places to cut a text, given where its tokens start."""

    def __init__(self, text: str, starts: list[int], limit: int) -> None:
        self._text, self._starts, self._limit = text, starts, limit

    def of(self, begin: int, end: int, level: int) -> Iterator[tuple[int, int]]:
        """Yield (begin, end) of consecutive pieces that have no more tokens than the limit."""
        if _tokens(self._starts, begin, end) <= self._limit or end - begin < 2:
            yield begin, end
        elif level == len(_BOUNDARIES):
            middle = self._middle(begin, end)
            yield from self.of(begin, middle, level)
            yield from self.of(middle, end, level)
        else:
            for boundary in _BOUNDARIES[level].finditer(self._text, begin, end):
                yield from self.of(begin, boundary.end(), level + 1)
                begin = boundary.end()
            if begin < end:
                yield from self.of(begin, end, level + 1)

    def _middle(self, begin: int, end: int) -> int:
        """Return a place to halve a piece, behind a space of its middle half if there is one."""
        half, quarter = (begin + end) // 2, (end - begin) // 4
        space = self._text.find(" ", half, half + quarter)
        if space < 0:
            space = self._text.rfind(" ", begin + quarter, half)
        return half if space < 0 else space + 1


def _tokens(starts: list[int], begin: int, end: int) -> int:
    return bisect_left(starts, end) - bisect_left(starts, begin)


def _checked(piece: str, limit: int, counter: TokenCounter) -> list[str]:
    """Return `piece`, cut again if it has more tokens alone than it had as a part of the text."""
    count = counter.count(piece)
    return [piece] if count <= limit else chunk(piece, max(1, 2 * limit - count), counter)
