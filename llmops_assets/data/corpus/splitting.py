"""Which documents are held out: whole groups, and whole clusters of documents that are alike."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmops_assets.data.corpus.documents import Documents
from llmops_assets.data.duplicates.contained_runs import Runs
from llmops_assets.data.duplicates.dedup import joined
from llmops_assets.data.duplicates.shingles import Hashes
from llmops_assets.data.splits import heldout_units
from llmops_assets.data.workers import Workers

_BATCH_BYTES = 1 << 20


def units(groups: Hashes, related: list[tuple[int, int]]) -> NDArray[np.int64]:
    """Return [documents]: the smallest number of those that must stay on one side of the split with it.

    `groups` are [documents] of names; `related` are pairs of documents, which join their groups.
    """
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    equal = ordered[1:] == ordered[:-1]
    labels = joined(np.arange(len(groups)), order[:-1][equal], order[1:][equal])
    pairs = np.array(related, np.int64).reshape(-1, 2)
    return joined(labels, pairs[:, 0], pairs[:, 1])


def heldout(unit_of: NDArray[np.int64], groups: Hashes, draws: NDArray[np.float64], share: float) -> NDArray[np.bool_]:
    """Return [documents]: whether a document is held out. The draw of a unit is that of its group of smallest name."""
    names, unit, sizes = np.unique(unit_of, return_inverse=True, return_counts=True)
    order = np.lexsort((groups, unit))
    first = order[np.concatenate([[True], np.diff(unit[order]) != 0])] if len(order) else order
    chosen = heldout_units(sizes.tolist(), draws[first].tolist(), share)
    return np.array(chosen, bool)[unit] if len(names) else np.zeros(0, bool)


@dataclass(frozen=True)
class _Seen:
    """Finds, in batches of documents, which runs of other documents they hold."""

    runs: Runs

    def __call__(self, batch: list[tuple[int, bytes]]) -> NDArray[np.int64]:
        return self.runs.seen_in(json.loads(line)["text"] for _, line in batch)


def contained(
    documents: Documents, heldout_numbers: list[int], train_numbers: Iterable[int], workers: Workers
) -> Iterator[tuple[int, float]]:
    """Yield (number, share) of the held-out documents: how much of each train teaches word for word.

    In memory are the runs of the held-out documents, 16 bytes a word, 25 while they are gathered, and 8 in each of the
    workers that are processes.
    """
    texts = (json.loads(line)["text"] for batch in documents.lines(heldout_numbers, _BATCH_BYTES) for _, line in batch)
    runs = Runs.of(texts)
    seen = np.zeros(len(runs.known), bool)
    batches: Any = documents.lines(train_numbers, _BATCH_BYTES)
    for places in workers.map(_Seen(Runs(runs.known, [])), batches):
        seen[places] = True
    yield from zip(heldout_numbers, runs.shares(seen), strict=True)
