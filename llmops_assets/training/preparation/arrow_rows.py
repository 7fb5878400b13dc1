"""Rows on disk as Arrow streams: memory-mapped when they are read, and the same bytes for the same rows."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
from datasets import Dataset

from llmops_assets.errors import LlmopsError

TRAIN_FILE = "train.arrow"
VALIDATION_FILE = "validation.arrow"
COUNTS_FILE = "rows.json"

TOKENS = pa.list_(pa.int32())
_ROWS_PER_BATCH = 1000


class MissingRows(LlmopsError):
    """A folder of prepared rows lacks the file that is read, or the file is no Arrow stream."""


class RowsFile:
    """An Arrow stream with exactly `columns`, in their order, that rows are added to; a context manager.

    A thousand rows are in memory at most, so they may be more than fits it. `count` tells how many were added.
    """

    def __init__(self, path: Path, columns: Mapping[str, pa.DataType]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.count = 0
        self._schema = pa.schema(list(columns.items()))
        self._waiting: list[Mapping[str, Any]] = []
        self._sink = pa.OSFile(str(path), "wb")
        self._stream = pa.ipc.new_stream(self._sink, self._schema)

    def add(self, row: Mapping[str, Any]) -> None:
        """Write one row after the others."""
        self._waiting.append(row)
        self.count += 1
        if len(self._waiting) == _ROWS_PER_BATCH:
            self._write_batch()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._sink, self._stream:
            if kind is None and self._waiting:
                self._write_batch()

    def _write_batch(self) -> None:
        columns = {name: [row[name] for row in self._waiting] for name in self._schema.names}
        self._stream.write_batch(pa.record_batch(columns, schema=self._schema))
        self._waiting.clear()


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], columns: Mapping[str, pa.DataType]) -> int:
    """Write `rows`, which may come from a generator over more than fits memory, as a RowsFile; returns their number."""
    with RowsFile(path, columns) as file:
        for row in rows:
            file.add(row)
    return file.count


def read_rows(folder: Path, file: str = TRAIN_FILE) -> Dataset:
    """Return the rows of `folder`/`file`, memory-mapped.

    Raises MissingRows.
    """
    path = folder / file
    if not path.is_file():
        raise MissingRows(f"{path}: no such file of prepared rows; materialize the rows asset again")
    try:
        return Dataset.from_file(str(path))
    except pa.ArrowInvalid as error:
        raise MissingRows(f"{path}: not an Arrow stream ({error}); materialize the rows asset again") from error


def read_counts(folder: Path) -> dict[str, int]:
    """Return what rows.json says of the rows of `folder`; it is written last, so it proves them whole.

    Raises MissingRows.
    """
    path = folder / COUNTS_FILE
    if not path.is_file():
        raise MissingRows(f"{path}: no such file, so the rows are not whole; materialize the rows asset again")
    return json.loads(path.read_text(encoding="utf-8"))


def has_validation(folder: Path) -> bool:
    """Return whether rows were set apart for the validation loss."""
    return (folder / VALIDATION_FILE).is_file()
