"""The demo's rater: a documented rule that stands in for people and is labelled `simulated` wherever its votes go.

The rule is about grounding, which SFT on extracted answers leaves open: of two answers the rater prefers the one that
names more of the API's own words (the parts of its name and of its parameters, as the question shows them); if both
name as many, the shorter one; if they are equally long too, it is a tie. It reads nothing but the two texts.
"""

import re

from llmops_assets.feedback.records import Rater, Verdict

SIMULATED_RATER = Rater(subject="simulated-rater-v1", kind="simulated")
RULE = "more of the API's own words, then shorter"

_SIGNATURE = re.compile(r"`([^`]+)`")
_WORD = re.compile(r"[a-z]{3,}")


def rate(question: str, left: str, right: str) -> Verdict:
    """Return the verdict on two answers to `question`; see the module for the rule."""
    words = api_words(question)
    left_named, right_named = len(words & _words(left)), len(words & _words(right))
    if left_named != right_named:
        return "left" if left_named > right_named else "right"
    left_length, right_length = len(left.split()), len(right.split())
    if left_length != right_length:
        return "left" if left_length < right_length else "right"
    return "tie"


def api_words(question: str) -> set[str]:
    """Return the lower-case words of three letters or more in the code spans of `question`."""
    return set().union(*(_words(span) for span in _SIGNATURE.findall(question)))


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
