"""Cuts documents into chunks of a bounded number of tokens, at paragraphs where possible, losing nothing."""

import re
from collections.abc import Callable, Iterator

# From the best place to cut to the worst; each keeps its separator at the end of the piece before it.
_BOUNDARIES = (re.compile(r"\n[ \t]*\n+"), re.compile(r"\n"), re.compile(r"(?<=[.!?;。\uff01\uff1f])\s+"))


def chunk(text: str, limit: int, count_tokens: Callable[[str], int]) -> list[str]:
    """Return consecutive pieces of `text` of at most `limit` tokens each; their concatenation is `text`.

    Cuts at blank lines; inside a paragraph that is too long at line ends, then sentences, then near the middle.
    """
    if count_tokens(text) <= limit:
        return [text]
    chunks: list[str] = []
    buffer = ""
    for piece in _pieces(text, limit, count_tokens, 0):
        if buffer and count_tokens(buffer + piece) > limit:
            chunks.append(buffer)
            buffer = ""
        buffer += piece
    return [*chunks, buffer]


def _pieces(text: str, limit: int, count_tokens: Callable[[str], int], level: int) -> Iterator[str]:
    if count_tokens(text) <= limit:
        yield text
    elif level == len(_BOUNDARIES):
        cut = _near_the_middle(text)
        yield from _pieces(text[:cut], limit, count_tokens, level)
        yield from _pieces(text[cut:], limit, count_tokens, level)
    else:
        start = 0
        for boundary in _BOUNDARIES[level].finditer(text):
            yield from _pieces(text[start : boundary.end()], limit, count_tokens, level + 1)
            start = boundary.end()
        if start < len(text):
            yield from _pieces(text[start:], limit, count_tokens, level + 1)


def _near_the_middle(text: str) -> int:
    """Return a place to halve `text`, behind a space of its middle half if there is one."""
    half, quarter = len(text) // 2, len(text) // 4
    space = text.find(" ", half, half + quarter)
    if space < 0:
        space = text.rfind(" ", quarter, half)
    return half if space < 0 else space + 1
