"""Which new instructions are not wanted whatever the pool holds: the filters of Self-Instruct, for any language."""

import unicodedata

import regex

from llmops_assets.data.generation.specs import InstructionsSpec
from llmops_assets.data.records import Reason
from llmops_assets.data.self_instruct.instruction_pool import folded_words
from llmops_assets.data.words import UNSPACED

# Spanish opens its questions and exclamations with them.
_OPENING = "¿¡"


def reason_to_reject(instruction: str, spec: InstructionsSpec) -> tuple[Reason, str] | None:
    """Return why an instruction is not wanted, with what was found, or None. The first rule that it breaks counts.

    The paper's code counts words between spaces and wants an ASCII character at the start; here words are those of
    `folded_words`, and any letter or digit may begin.
    """
    words = len(folded_words(instruction))
    if words < spec.min_words:
        return Reason.TOO_SHORT, f"{words} words, fewer than min_words = {spec.min_words}"
    if words > spec.max_words:
        return Reason.TOO_LONG, f"{words} words, more than max_words = {spec.max_words}"
    first = instruction.lstrip(_OPENING)[:1]
    if unicodedata.category(first)[0] not in "LN":
        return Reason.LEADING_PUNCTUATION, f"begins with {instruction[:1]!r}"
    folded = instruction.casefold()
    for language, rules in spec.keyword_rules.items():
        for word in rules.words:
            if _holds(folded, word.casefold()):
                return Reason.BLOCKED_WORDS, f"holds {word!r}, a word of keyword_rules.{language}"
        for start in rules.starts:
            if folded.startswith(start.casefold()):
                return Reason.BLOCKED_WORDS, f"begins with {start!r}, of keyword_rules.{language}"
    return None


def _holds(text: str, word: str) -> bool:
    """Whole words alone, except in scripts that do not part them."""
    if UNSPACED.search(word):
        return word in text
    return regex.search(rf"(?<!\w){regex.escape(word)}(?!\w)", text) is not None
