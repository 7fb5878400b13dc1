"""Which documents hold an item of the lane's eval sets."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from llmops_assets.data.corpus.documents import Documents
from llmops_assets.data.evals.decontamination import EvalIndex, Leak
from llmops_assets.data.workers import Workers

_BATCH_BYTES = 1 << 20


@dataclass(frozen=True)
class _Leaks:
    index: EvalIndex

    def __call__(self, batch: list[tuple[int, bytes]]) -> list[tuple[int, Leak]]:
        leaks = self.index.leaks([json.loads(line)["text"] for _, line in batch])
        return [(number, leak) for (number, _), leak in zip(batch, leaks, strict=True) if leak is not None]


def leaking(
    documents: Documents, numbers: Iterable[int], index: EvalIndex, workers: Workers
) -> Iterator[tuple[int, Leak]]:
    """Yield (number, leak) of those documents among `numbers` that hold an eval item, in their order."""
    batches: Any = documents.lines(numbers, _BATCH_BYTES)
    for found in workers.map(_Leaks(index), batches):
        yield from found
