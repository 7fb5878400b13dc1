"""The pool of instructions, and how alike a new one is to those in it: ROUGE-L over words of any script."""

import unicodedata
from dataclasses import dataclass

from rapidfuzz.distance import LCSseq

from llmops_assets.data.words import words_of


def folded_words(text: str) -> list[str]:
    """Return the words of `text` with compatibility forms folded too.

    The tokenizer of the rouge-score package, which the paper's code used, drops everything outside [a-z0-9]: to it all
    Chinese and Russian instructions are empty, and none is similar to another.
    """
    return words_of(unicodedata.normalize("NFKC", text))


@dataclass(frozen=True, slots=True)
class PoolEntry:
    """An instruction that prompts are made from. `words` holds the number that the pool gave to each word."""

    id: str
    text: str
    human: bool
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Nearest:
    """The instruction of the pool that one is most alike, the earliest of several, and its ROUGE-L F1."""

    id: str
    rouge: float


class InstructionPool:
    """Seeds, and the instructions that were accepted so far, in that order."""

    def __init__(self) -> None:
        self.entries: list[PoolEntry] = []
        self._numbers: dict[str, int] = {}

    def add(self, identity: str, text: str, *, human: bool) -> None:
        """Put an instruction into the pool."""
        self.entries.append(PoolEntry(identity, text, human, self._numbered(text)))

    def nearest(self, text: str, *, seeds_only: bool = False) -> Nearest | None:
        """Return what `text` is most alike; None in an empty pool.

        ROUGE-L F1 of m and n words with a longest common subsequence of l is 2l / (m + n) (Lin 2004). As l is at most
        min(m, n), a pair whose lengths alone keep it from being the nearest is skipped without looking at its words.
        Compared are whole numbers, so that no rounding decides.
        """
        words = self._numbered(text)
        best: PoolEntry | None = None
        best_common, best_total = 0, 1
        for entry in self.entries:
            if seeds_only and not entry.human:
                continue
            total = max(1, len(words) + len(entry.words))
            # The least common length with which this entry is nearer than the best one.
            needed = best_common * total // best_total + 1
            if best is not None and min(len(words), len(entry.words)) < needed:
                continue
            common = LCSseq.similarity(words, entry.words, score_cutoff=needed if best is not None else None)
            if best is None or common >= needed:
                best, best_common, best_total = entry, common, total
        return None if best is None else Nearest(best.id, 2 * best_common / best_total)

    def _numbered(self, text: str) -> tuple[int, ...]:
        return tuple(self._numbers.setdefault(word, len(self._numbers)) for word in folded_words(text))
