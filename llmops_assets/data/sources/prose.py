"""Finds prose in documentation: paragraphs and sentences as spans `(start, end)` of code points."""

import re
from collections.abc import Iterator

BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")
_SENTENCE_END = re.compile(r"[.!?][\"'\u2019\u201d)\]`]*(?=\s|\Z)")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|incl|resp|no|fig|sec|dept|Mr|Mrs|Dr|St)|\b[A-Z]|\.\.)\.\Z"
)
_LIST_ITEM = re.compile(r"(?:[-*+•|#]|\(?\w{1,2}[.)])\s")
_MARKUP = re.compile(r">>>|::|```|->|\.\. |^\s*[:@]\w+|-{3,}|={3,}|\bXXX\b|\bTODO\b|\bFIXME\b|\$\w+:", re.MULTILINE)
_DEFINITION = re.compile(r"^[\w.*\[\], ]+(?:\s--?\s|\s:\s|:\n)", re.MULTILINE)
_CALL_LINE = re.compile(r"^[\w.]+\(.*\)\s*(?:=.*)?$", re.MULTILINE)
_OPENING = re.compile(r"[A-Z\"'\u201c\u2018`*]")
_LEAST_LETTERS = 0.75
_LONGEST_PARAGRAPH = 5_000

SpanBounds = tuple[int, int]


def paragraphs(text: str, start: int = 0) -> Iterator[SpanBounds]:
    """Yield the paragraphs of `text[start:]`, without the blank lines around them."""
    for gap in BLANK_LINES.finditer(text, start):
        if text[start : gap.start()].strip():
            yield start, gap.start()
        # The gap may end inside the indentation of the next paragraph, which tells code from prose.
        start = text.rfind("\n", gap.start(), gap.end()) + 1
    end = len(text.rstrip())
    if start < end:
        yield start, end


def is_prose(paragraph: str) -> bool:
    """Return whether a paragraph is running text: no code, list, markup, field or call line, and not endless."""
    if len(paragraph) > _LONGEST_PARAGRAPH:
        return False
    lines = paragraph.split("\n")
    if any(line[:1].isspace() or _LIST_ITEM.match(line) for line in lines) or paragraph.endswith(":"):
        return False
    if any(pattern.search(paragraph) for pattern in (_MARKUP, _DEFINITION, _CALL_LINE)):
        return False
    letters = sum(character.isalpha() or character == " " for character in paragraph)
    return bool(_OPENING.match(paragraph)) and letters >= _LEAST_LETTERS * len(paragraph)


def sentences(text: str, bounds: SpanBounds) -> Iterator[SpanBounds]:
    """Yield the sentences of the paragraph `text[start:end]`; a last one without a full stop counts too.

    A full stop ends no sentence after an abbreviation, an initial, or where the text goes on in lower case.
    """
    start, end = bounds
    begin = start
    for match in _SENTENCE_END.finditer(text, start, end):
        rest = text[match.end() : end].lstrip()
        goes_on = bool(rest) and rest[0].islower()
        if not goes_on and not (rest and _ABBREVIATION.search(text[begin : match.end()])):
            yield begin, match.end()
            begin = match.end() + (len(text[match.end() : end]) - len(rest))
    if begin < end:
        yield begin, end
