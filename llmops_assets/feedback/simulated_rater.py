"""The demo's rater: a documented rule that stands in for people and is labelled `simulated` wherever its votes go.

The rule is about completeness, which SFT has not settled: its answers stop earlier than the documentation does. Of
two answers the rater prefers the one with more distinct words, so that saying something twice gains nothing; if both
have as many, the one that names more of the API's own words (the parts of its name and of its parameters, as the
question shows them); else it is a tie. It reads nothing but the question and the two texts.
"""

import re

from llmops_assets.feedback.records import Rater, Verdict

SIMULATED_RATER = Rater(subject="simulated-rater-v1", kind="simulated")
RULE = "more distinct words, then more of the API's own words"

_SIGNATURE = re.compile(r"`([^`]+)`")
_WORD = re.compile(r"\w+")
_PART_OF_NAME = re.compile(r"[a-z]{3,}")


def rate(question: str, left: str, right: str) -> Verdict:
    """Return the verdict on two answers to `question`; see the module for the rule."""
    named = api_words(question)
    scores = [(len(_words(text)), len(named & _parts(text))) for text in (left, right)]
    if scores[0] == scores[1]:
        return "tie"
    return "left" if scores[0] > scores[1] else "right"


def api_words(question: str) -> set[str]:
    """Return the lower-case words of three letters or more in the code spans of `question`."""
    return set().union(*(_parts(span) for span in _SIGNATURE.findall(question)))


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _parts(text: str) -> set[str]:
    return set(_PART_OF_NAME.findall(text.lower()))
