"""Quality filters of corpus documents, each with the reason that goes to quarantine."""

import re
from collections import Counter

from llmops_assets.data.records import Reason
from llmops_assets.data.specs import CorpusSpec

# Han, Hiragana and Katakana stand without spaces: each character counts as a word.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
_PHRASE_WORDS = 10


def words_of(text: str) -> list[str]:
    """Return the words of `text` with case folded; in scripts without spaces, its characters."""
    return _WORD.findall(text.casefold())


def reason_to_drop(body: str, spec: CorpusSpec) -> tuple[Reason, str] | None:
    """Return why a document with this body is not worth training on, with the figures, or None."""
    count = len(words_of(body))
    if count < spec.min_words:
        return Reason.TOO_SHORT, f"{count} words, fewer than min_words = {spec.min_words}"
    share = repetition(body)
    if share > spec.max_repetition:
        return Reason.REPETITIVE, f"{share:.0%} of it repeats itself, above max_repetition = {spec.max_repetition:.0%}"
    return None


def repetition(text: str) -> float:
    """Return the share of `text` that says again what it said before: by lines or by phrases, whichever is larger.

    The share of characters in repeated lines is Gopher's (arXiv 2112.11446, table A1). The share of words covered by
    repeated runs of 10 words finds the same in texts without line breaks.
    """
    lines = [stripped for line in text.splitlines() if (stripped := line.strip())]
    repeated = sum(len(line) * (times - 1) for line, times in Counter(lines).items())
    by_lines = repeated / max(1, sum(map(len, lines)))
    return max(by_lines, _repeated_phrases(words_of(text)))


def _repeated_phrases(words: list[str]) -> float:
    seen: set[tuple[str, ...]] = set()
    covered = bytearray(len(words))
    for start in range(len(words) - _PHRASE_WORDS + 1):
        phrase = tuple(words[start : start + _PHRASE_WORDS])
        if phrase in seen:
            covered[start : start + _PHRASE_WORDS] = b"\x01" * _PHRASE_WORDS
        seen.add(phrase)
    return sum(covered) / max(1, len(words))
