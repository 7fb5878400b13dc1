"""Quality filters of corpus documents, each with the reason that goes to quarantine."""

import re
from collections import Counter

from llmops_assets.data.records import Reason
from llmops_assets.data.specs import QualitySpec

# Han, Hiragana and Katakana stand without spaces: each character counts as a word.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
_PHRASE_WORDS = 10
_SYMBOL = re.compile(r"#|\.\.\.|…")
_BULLET = re.compile(r"\A[•‣◦*+-] ")
_ELLIPSIS = re.compile(r"(?:\.\.\.|…)\Z")
_STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
_BOILERPLATE = re.compile(
    r"\b(?:(?:enable|requires?|without) javascript|cookie policy|use cookies|uses cookies|terms of (?:use|service)"
    r"|privacy policy|lorem ipsum)\b",
    re.IGNORECASE,
)


def words_of(text: str) -> list[str]:
    """Return the words of `text` with case folded; in scripts without spaces, its characters."""
    return _WORD.findall(text.casefold())


Verdict = tuple[Reason, str]


def reason_to_drop(body: str, spec: QualitySpec) -> Verdict | None:
    """Return why a document with this body is not worth training on, with the figures, or None.

    The first rule that it breaks counts: length, repetition, and then those of `QualitySpec` in their order.
    """
    words = words_of(body)
    if len(words) < spec.min_words:
        return Reason.TOO_SHORT, f"{len(words)} words, fewer than min_words = {spec.min_words}"
    if spec.max_words is not None and len(words) > spec.max_words:
        return Reason.TOO_LONG, f"{len(words)} words, more than max_words = {spec.max_words}"
    share = repetition(body)
    if share > spec.max_repetition:
        return Reason.REPETITIVE, f"{share:.0%} of it repeats itself, above max_repetition = {spec.max_repetition:.0%}"
    return _word_rules(body, words, spec) or _line_rules(body, spec)


def _word_rules(body: str, words: list[str], spec: QualitySpec) -> Verdict | None:
    count = max(1, len(words))
    length = sum(map(len, words)) / count
    if spec.min_word_characters is not None and length < spec.min_word_characters:
        return Reason.WORD_LENGTH, f"{length:.1f} characters a word, under min_word_characters"
    if spec.max_word_characters is not None and length > spec.max_word_characters:
        return Reason.WORD_LENGTH, f"{length:.1f} characters a word, above max_word_characters"
    if spec.max_symbols is not None and (found := len(_SYMBOL.findall(body)) / count) > spec.max_symbols:
        return Reason.SYMBOLS, f"{found:.2f} # and ellipses per word, above max_symbols = {spec.max_symbols}"
    if spec.min_alphabetic_words is not None:
        share = sum(any(map(str.isalpha, word)) for word in words) / count
        if share < spec.min_alphabetic_words:
            return Reason.FEW_LETTERS, f"{share:.0%} of its words have a letter, under min_alphabetic_words"
    if (
        spec.min_stop_words is not None
        and (stop_words := sum(map(_STOP_WORDS.__contains__, words))) < spec.min_stop_words
    ):
        return Reason.FEW_STOP_WORDS, f"{stop_words} English stop words, fewer than min_stop_words"
    return None


def _line_rules(body: str, spec: QualitySpec) -> Verdict | None:
    lines = [stripped for line in body.splitlines() if (stripped := line.strip())]
    rules = (
        (spec.max_bullet_lines, _BULLET, Reason.BULLETS, "begin with a bullet, above max_bullet_lines"),
        (spec.max_ellipsis_lines, _ELLIPSIS, Reason.ELLIPSES, "end with an ellipsis, above max_ellipsis_lines"),
        (spec.max_boilerplate_lines, _BOILERPLATE, Reason.BOILERPLATE, "are boilerplate, above max_boilerplate_lines"),
    )
    for limit, pattern, reason, what in rules:
        if limit is not None:
            share = sum(pattern.search(line) is not None for line in lines) / max(1, len(lines))
            if share > limit:
                return reason, f"{share:.0%} of its lines {what}"
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
