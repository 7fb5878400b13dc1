"""How much of some texts others contain word for word, measured by runs of 13 words (GPT-3, arXiv 2005.14165)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmops_assets.data.duplicates.shingles import distinct, each_once, is_in, shingle_hashes
from llmops_assets.data.duplicates.word_batches import Hashes

RUN_WORDS = 13
CONTAINED_SHARE = 0.5


@dataclass(frozen=True)
class Runs:
    """The runs of some texts: `known` are all of them, sorted; those of text i are `known[of_texts[i]]`."""

    known: Hashes
    of_texts: list[NDArray[np.int64]]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Runs":
        """Return the runs of `texts`, of which one batch at a time is in memory.

        16 bytes a word stay in memory, and there are 25 at the peak.
        """
        hashes = [batch.of(index) for batch in shingle_hashes(texts, RUN_WORDS) for index in range(len(batch))]
        known = np.concatenate([np.zeros(0, np.uint64), *hashes])
        known.sort()
        known = each_once(known)
        of_texts: list[NDArray[np.int64]] = []
        # In the order from the last one, so that the hashes of a text go when their places are known.
        while hashes:
            of_texts.append(np.searchsorted(known, hashes.pop()))
        return cls(known, of_texts[::-1])

    def seen_in(self, texts: Iterable[str]) -> NDArray[np.int64]:
        """Return which of `known` occur in `texts`, as sorted places."""
        found = [np.zeros(0, np.uint64)]
        for batch in shingle_hashes(texts, RUN_WORDS):
            hashes = distinct(batch.hashes)
            found.append(hashes[is_in(self.known, hashes)])
        return np.searchsorted(self.known, distinct(np.concatenate(found)))

    def shares(self, seen: NDArray[np.bool_]) -> list[float]:
        """Return for each text the share of its distinct runs that `seen`, one value for each of `known`, has."""
        return [float(seen[places].mean()) for places in self.of_texts]


def contained_shares(texts: Sequence[str], train: Iterable[str]) -> list[float]:
    """Return for each text the share of its distinct runs of 13 words that occur in `train`."""
    runs = Runs.of(texts)
    seen = np.zeros(len(runs.known), bool)
    seen[runs.seen_in(train)] = True
    return runs.shares(seen)
