"""The documents of a corpus while it is built: their texts and keys on disk, a few numbers of each in memory."""

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmops_assets.data.corpus.rejection import rejected
from llmops_assets.data.corpus.screening import Screened
from llmops_assets.data.corpus.spool import Spool
from llmops_assets.data.duplicates.bands import BandFiles
from llmops_assets.data.duplicates.shingles import Hashes
from llmops_assets.data.quarantine import Quarantine
from llmops_assets.data.records import Document, QuarantinedRecord, Reason

_BATCH_CHARACTERS = 1 << 20
_BATCH_RECORDS = 4096
Batch = list[Document | QuarantinedRecord]


def batches(records: Iterable[Document | QuarantinedRecord], read: Counter[str]) -> Iterator[Batch]:
    """Yield `records` in batches; one whose id is taken is a rejected one in them. Counts by source go into `read`.

    In memory is a hash of every id.
    """
    taken: set[bytes] = set()
    batch: Batch = []
    characters = 0
    for record in records:
        read[record.source] += 1
        if isinstance(record, Document):
            identity = hashlib.blake2b(record.id.encode("utf-8"), digest_size=12).digest()
            if identity in taken:
                record = rejected(record, Reason.DUPLICATE_ID, f"the id {record.id!r} is taken by another record")
            else:
                taken.add(identity)
                characters += len(record.text)
        batch.append(record)
        if characters >= _BATCH_CHARACTERS or len(batch) >= _BATCH_RECORDS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


class Documents:
    """Numbered documents in their order, of which some are dropped again."""

    def __init__(self, folder: Path, bands: int) -> None:
        self.bands = BandFiles(folder, bands)
        self._spool = Spool(folder / "documents")
        self._sources: list[str] = []
        self._source_of, self._groups = array("L"), array("Q")
        self._draws, self._lots = array("d"), array("d")
        self._dropped: set[int] = set()

    def __len__(self) -> int:
        return len(self._spool)

    def add(self, screened: Screened) -> None:
        """Add those of a batch that passed."""
        self._spool.add(screened.lines)
        self.bands.add(screened.keys)
        for source in screened.sources:
            if source not in self._sources:
                self._sources.append(source)
            self._source_of.append(self._sources.index(source))
        self._groups.frombytes(screened.groups.tobytes())
        self._draws.frombytes(screened.draws.tobytes())
        self._lots.frombytes(screened.lots.tobytes())

    @property
    def groups(self) -> Hashes:
        """[documents]: hashes of the names of their groups."""
        return np.frombuffer(self._groups, np.uint64)

    @property
    def draws(self) -> NDArray[np.float64]:
        """[documents]: the draws of their groups for the split."""
        return np.frombuffer(self._draws, np.float64)

    @property
    def lots(self) -> NDArray[np.float64]:
        """[documents]: the draws of the documents themselves."""
        return np.frombuffer(self._lots, np.float64)

    @property
    def kept(self) -> NDArray[np.bool_]:
        """[documents]: whether a document has not been dropped."""
        kept = np.ones(len(self), bool)
        kept[list(self._dropped)] = False
        return kept

    def of_source(self, name: str) -> NDArray[np.bool_]:
        """[documents]: whether a document is of the source of that name."""
        number = self._sources.index(name) if name in self._sources else len(self._sources)
        return np.frombuffer(self._source_of, np.uint64) == number

    def drop(self, number: int, reason: Reason, detail: str, quarantine: Quarantine) -> None:
        """Drop a document, which goes to quarantine."""
        self._dropped.add(number)
        [line] = self._spool.read([number])
        quarantine.add(rejected(Document(**json.loads(line)), reason, detail))

    def identity(self, number: int) -> str:
        """Return the id of a document."""
        [line] = self._spool.read([number])
        return json.loads(line)["id"]

    def bodies(self, numbers: Sequence[int]) -> list[str]:
        """Return what deduplication looks at of some documents."""
        rows = map(json.loads, self._spool.read(numbers))
        return [row["text"][row["body_start"] :] for row in rows]

    def lines(self, numbers: Iterable[int], size: int) -> Iterator[list[tuple[int, bytes]]]:
        """Yield (number, row of documents.jsonl without its split) in batches of about `size` bytes."""
        return self._spool.batches(numbers, size)

    def close(self) -> None:
        self._spool.close()
        self.bands.close()
