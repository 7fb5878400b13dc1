"""Texts with planted duplicates: words by their frequency in Python's documentation, copies beside a threshold.

The truth is a cluster per original: itself and its copies, of which all but one should go. Some libraries keep the
first one, others any of them; which one it is makes neither right nor wrong.
"""

import random
import re
from collections import Counter
from collections.abc import Mapping, Set
from itertools import accumulate

THRESHOLD = 0.8
SHINGLE_WORDS = 5
_MEAN_WORDS, _DEVIATION, _FEWEST_WORDS = 330, 60, 60


class Vocabulary:
    """The words of Python's language reference, drawn as often as they occur there; those that `word` matches."""

    def __init__(self, word: str = r"\w+") -> None:
        from llmops_assets.data.sources.python_topics import read_python_topics
        from llmops_assets.data.sources.specs import PythonTopicsSource

        documents = read_python_topics(PythonTopicsSource(name="topics"))
        found = (match for document in documents for match in re.findall(r"\w+", document.text.lower()))
        counts = Counter(match for match in found if re.fullmatch(word, match))
        self._words = list(counts)
        self._weights = list(accumulate(counts.values()))

    def text(self, chance: random.Random) -> list[str]:
        """Return the words of a text of about 2 KB."""
        return self.words(max(_FEWEST_WORDS, int(chance.gauss(_MEAN_WORDS, _DEVIATION))), chance)

    def words(self, count: int, chance: random.Random) -> list[str]:
        return chance.choices(self._words, cum_weights=self._weights, k=count)


def copy_of(original: list[str], alike: bool, chance: random.Random) -> tuple[list[str], bool]:
    """Return a copy with words replaced, and whether it is at or above the threshold."""
    shingles = len(original) - SHINGLE_WORDS + 1
    # A replaced word changes five shingles: J = (n - 5k) / (n + 5k).
    limit = int(shingles * (1 - THRESHOLD) / (1 + THRESHOLD) / SHINGLE_WORDS)
    words = list(original)
    replaced = chance.randint(1, limit) if alike else chance.randint(limit + 1, 3 * limit + 1)
    for place in chance.sample(range(len(words)), replaced):
        words[place] = f"changed{chance.randrange(10**9)}"
    return words, _jaccard(original, words) >= THRESHOLD


def _jaccard(left: list[str], right: list[str]) -> float:
    sets = [
        {tuple(words[i : i + SHINGLE_WORDS]) for i in range(len(words) - SHINGLE_WORDS + 1)} for words in (left, right)
    ]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def recall_and_precision(dropped: Set[int], original_of: Mapping[int, int]) -> tuple[float, float]:
    """Judge the numbers of the dropped texts by clusters; `original_of` has the original of each planted copy.

    Of a cluster with n copies, up to n dropped texts are right, and a text that stays too many is one not found. Recall
    is the share of all copies that has a text dropped for it, precision the share of the dropped that is right.
    """
    copies = Counter(original_of.values())
    gone = Counter(original_of.get(number, number) for number in dropped)
    right = sum(min(gone[original], count) for original, count in copies.items())
    return right / max(1, len(original_of)), right / len(dropped) if dropped else 1.0
