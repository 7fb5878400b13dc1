"""The rows of a corpus: cut from its documents, kept on disk until it is known which of them stay, and written."""

from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmops_assets.data.corpus.chunks import Chunking
from llmops_assets.data.corpus.documents import Documents
from llmops_assets.data.corpus.spool import Spool
from llmops_assets.data.jsonl import write_lines
from llmops_assets.data.sets.data_set import DataSetFiles
from llmops_assets.data.workers import Workers

_BATCH_BYTES = 1 << 20


class Rows:
    """All rows in the order of their documents."""

    def __init__(self, folder: Path) -> None:
        self._spool = Spool(folder / "rows")
        self._document_of, self._tokens = array("Q"), array("Q")

    def cut(self, documents: Documents, is_heldout: NDArray[np.bool_], chunking: Chunking, workers: Workers) -> None:
        """Cut all documents that are kept."""
        lines = documents.lines(np.flatnonzero(documents.kept).tolist(), _BATCH_BYTES)
        batches = ([(number, bool(is_heldout[number]), line) for number, line in batch] for batch in lines)
        for batch in workers.map(chunking, batches):
            for chunked in batch:
                self._spool.add(chunked.lines)
                self._document_of.extend([chunked.number] * len(chunked.lines))
                self._tokens.extend(chunked.tokens)

    @property
    def document_of(self) -> NDArray[np.int64]:
        """[rows]: the number of the document that a row is of."""
        return np.frombuffer(self._document_of, np.int64)

    @property
    def tokens(self) -> NDArray[np.int64]:
        """[rows]: how many tokens a row has."""
        return np.frombuffer(self._tokens, np.int64)

    def tokens_of(self, documents: Documents) -> NDArray[np.int64]:
        """[documents]: how many tokens the rows of a document have."""
        return np.bincount(self.document_of, self.tokens, minlength=len(documents)).astype(np.int64)

    def write(self, path: Path, which: NDArray[np.bool_]) -> None:
        """Write those rows that `which`, [rows], names."""
        chosen: Any = np.flatnonzero(which).tolist()
        write_lines(path, (line for batch in self._spool.batches(chosen, _BATCH_BYTES) for _, line in batch))

    def close(self) -> None:
        self._spool.close()


def write_files(files: DataSetFiles, rows: Rows, documents: Documents, is_heldout: NDArray[np.bool_]) -> None:
    """Write train.jsonl, heldout.jsonl and documents.jsonl with the documents that are kept."""
    stays = documents.kept[rows.document_of]
    of_heldout = is_heldout[rows.document_of]
    rows.write(files.train, stays & ~of_heldout)
    rows.write(files.heldout, stays & of_heldout)
    write_documents(files.documents, documents, is_heldout)


def write_documents(path: Path, documents: Documents, is_heldout: NDArray[np.bool_]) -> None:
    """Write the documents that are kept, with their split."""
    write_lines(path, _with_split(documents, is_heldout))


def _with_split(documents: Documents, is_heldout: NDArray[np.bool_]) -> Iterator[bytes]:
    numbers: Iterable[int] = np.flatnonzero(documents.kept).tolist()
    for batch in documents.lines(numbers, _BATCH_BYTES):
        for number, line in batch:
            yield line[:-1] + (b', "split": "heldout"}' if is_heldout[number] else b', "split": "train"}')
