"""Quality filters of corpus documents, each with the reason that goes to quarantine: whole batches at a time."""

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from llmops_assets.data.duplicates.shingles import is_in
from llmops_assets.data.duplicates.word_batches import Words, words_in
from llmops_assets.data.quality.repetition import gopher_verdicts, repeated_lines, repeated_phrases
from llmops_assets.data.records import Reason
from llmops_assets.data.specs import QualitySpec

Verdict = tuple[Reason, str]
_PHRASE_WORDS = 10
_A_WORD = "characters a word"
_BULLETS = tuple(f"{bullet} " for bullet in "•‣◦*+-")
_ELLIPSES = ("...", "…")
_STOP_WORDS = np.sort(words_in(["the be to of and that have with"]).hashes)
# Each with a part of it that is quick to look for.
_BOILERPLATE = (
    ("javascript", re.compile(r"\b(?:enable|requires?|without) javascript\b")),
    ("cookie", re.compile(r"\b(?:cookie policy|uses? cookies)\b")),
    ("terms of", re.compile(r"\bterms of (?:use|service)\b")),
    ("privacy policy", re.compile(r"\bprivacy policy\b")),
    ("lorem ipsum", re.compile(r"\blorem ipsum\b")),
)


def verdicts(words: Words, spec: QualitySpec) -> list[Verdict | None]:
    """Return for each text of a batch why it is not worth training on, with the figures, or None.

    The first rule that it breaks counts: length, repetition, and then those of `QualitySpec` in their order.
    """
    first = _FirstVerdicts(len(words.texts))
    _length_rules(first, words, spec)
    _repetition_rules(first, words, spec)
    _word_rules(first, words, spec)
    _line_rules(first, words, spec)
    return first.verdicts


def repetition(text: str) -> float:
    """Return the share of `text` that says again what it said before: by lines or by phrases, whichever is larger.

    The share of characters in repeated lines is Gopher's (arXiv 2112.11446, table A1). The share of words covered by
    repeated runs of 10 words finds the same in texts without line breaks.
    """
    return float(_repetition(words_in([text]))[0])


class _FirstVerdicts:
    """The first verdict on each text; later ones on the same text are not taken."""

    def __init__(self, texts: int) -> None:
        self.verdicts: list[Verdict | None] = [None] * texts

    def reject(self, which: NDArray[np.bool_], reason: Reason, detail: Callable[[int], str]) -> None:
        for index in np.flatnonzero(which).tolist():
            if self.verdicts[index] is None:
                self.verdicts[index] = reason, detail(index)


def _length_rules(first: _FirstVerdicts, words: Words, spec: QualitySpec) -> None:
    counts = words.counts
    less = f"words, fewer than min_words = {spec.min_words}"
    first.reject(counts < spec.min_words, Reason.TOO_SHORT, lambda i: f"{counts[i]} {less}")
    if spec.max_words is not None:
        more = f"words, more than max_words = {spec.max_words}"
        first.reject(counts > spec.max_words, Reason.TOO_LONG, lambda i: f"{counts[i]} {more}")


def _repetition_rules(first: _FirstVerdicts, words: Words, spec: QualitySpec) -> None:
    shares = _repetition(words)
    limit = f"of it repeats itself, above max_repetition = {spec.max_repetition:.0%}"
    first.reject(shares > spec.max_repetition, Reason.REPETITIVE, lambda i: f"{shares[i]:.0%} {limit}")
    if spec.gopher_repetition:
        details = gopher_verdicts(words)
        broken = np.array([detail is not None for detail in details], bool)
        first.reject(broken, Reason.REPETITIVE, lambda i: f"{details[i]} (gopher_repetition)")


def _repetition(words: Words) -> NDArray[np.float64]:
    by_phrases = words.sums(repeated_phrases(words, _PHRASE_WORDS)) / np.maximum(1, words.counts)
    by_lines = np.array([repeated_lines(text)[1] for text in words.texts], np.float64)
    return np.maximum(by_lines, by_phrases)


def _word_rules(first: _FirstVerdicts, words: Words, spec: QualitySpec) -> None:
    counts = np.maximum(1, words.counts)
    if spec.min_word_characters is not None or spec.max_word_characters is not None:
        means = words.sums(words.lengths) / counts
        low, high = spec.min_word_characters or 0, spec.max_word_characters or np.inf
        first.reject(means < low, Reason.WORD_LENGTH, lambda i: f"{means[i]:.1f} {_A_WORD}, under min_word_characters")
        first.reject(means > high, Reason.WORD_LENGTH, lambda i: f"{means[i]:.1f} {_A_WORD}, above max_word_characters")
    if (symbols := spec.max_symbols) is not None:
        shares = np.array([_symbols(text) for text in words.texts]) / counts
        above = f"# and ellipses per word, above max_symbols = {symbols}"
        first.reject(shares > symbols, Reason.SYMBOLS, lambda i: f"{shares[i]:.2f} {above}")
    if (letters := spec.min_alphabetic_words) is not None:
        lettered = words.sums(words.alphabetic) / counts
        under = "of its words have a letter, under min_alphabetic_words"
        first.reject(lettered < letters, Reason.FEW_LETTERS, lambda i: f"{lettered[i]:.0%} {under}")
    if (least := spec.min_stop_words) is not None:
        found = words.sums(is_in(_STOP_WORDS, words.hashes))
        fewer = "English stop words, fewer than min_stop_words"
        first.reject(found < least, Reason.FEW_STOP_WORDS, lambda i: f"{found[i]} {fewer}")


def _symbols(text: str) -> int:
    dots = text.count("...") if "..." in text else 0
    return text.count("#") + text.count("…") + dots


def _line_rules(first: _FirstVerdicts, words: Words, spec: QualitySpec) -> None:
    rules = (
        (spec.max_bullet_lines, _bullets, Reason.BULLETS, "begin with a bullet, above max_bullet_lines"),
        (spec.max_ellipsis_lines, _ellipses, Reason.ELLIPSES, "end with an ellipsis, above max_ellipsis_lines"),
        (spec.max_boilerplate_lines, _boilerplate, Reason.BOILERPLATE, "are boilerplate, above max_boilerplate_lines"),
    )
    if all(limit is None for limit, *_ in rules):
        return
    lines = [[line for raw in text.splitlines() if (line := raw.strip())] for text in words.texts]
    for limit, broken_in, reason, what in rules:
        if limit is None:
            continue
        shares = np.array([broken_in(of_text) / max(1, len(of_text)) for of_text in lines])
        first.reject(shares > limit, reason, lambda i, shares=shares, what=what: f"{shares[i]:.0%} of its lines {what}")


def _bullets(lines: list[str]) -> int:
    return sum(line.startswith(_BULLETS) for line in lines)


def _ellipses(lines: list[str]) -> int:
    return sum(line.endswith(_ELLIPSES) for line in lines)


def _boilerplate(lines: list[str]) -> int:
    folded = "\n".join(lines).casefold()
    patterns = [pattern for part, pattern in _BOILERPLATE if part in folded]
    if not patterns:
        return 0
    return sum(any(pattern.search(line) for pattern in patterns) for line in folded.split("\n"))
