"""Rows on disk as Arrow streams: memory-mapped when they are read, and the same bytes for the same rows."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

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


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], columns: Mapping[str, pa.DataType]) -> int:
    """Write `rows` as an Arrow stream with exactly `columns`, in their order; returns the number of rows.

    Rows are taken a thousand at a time, so they may come from a generator over more than fits memory.
    """
    schema = pa.schema(list(columns.items()))
    count = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as stream:
        for chunk in _chunks(iter(rows)):
            stream.write_batch(pa.record_batch({name: [row[name] for row in chunk] for name in columns}, schema=schema))
            count += len(chunk)
    return count


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


def _chunks(rows: Iterator[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    while chunk := list(islice(rows, _ROWS_PER_BATCH)):
        yield chunk
