"""The rows of a data set file, checked one by one, and the prepared rows that a trainer gets."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets

from llmops_assets.errors import LlmopsError


class BrokenRow(LlmopsError):
    """A line of a data set file is not JSON or lacks what its stage reads."""


class NothingToTrain(LlmopsError):
    """A data set file holds no row that the stage can use."""


class RowsDoNotMatch(LlmopsError):
    """What was computed for rows beforehand belongs to other rows."""


@dataclass(frozen=True)
class TrainingRows:
    """Rows ready for a trainer, with counts that go into the run's metrics, and those of texts that its MFU needs."""

    train: Dataset
    evaluation: Dataset | None
    counts: dict[str, float] = field(default_factory=dict)
    texts: dict[str, float] = field(default_factory=dict)


def joined(rows: Dataset, computed: Dataset, folder: Path) -> Dataset:
    """Return `rows` with the columns of `computed`, which has one row for each of them, in the same order.

    Raises RowsDoNotMatch.
    """
    if len(rows) != len(computed):
        raise RowsDoNotMatch(
            f"{folder}: computed for {len(computed)} rows, the stage has {len(rows)}; materialize that asset again"
        )
    return concatenate_datasets([rows, computed], axis=1)


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield `("file:line", row)` for every non-empty line.

    Raises BrokenRow for a missing file and for a line that is not a JSON object.
    """
    if not path.is_file():
        raise BrokenRow(f"{path}: no such file of the data set; materialize the data set asset again")
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise BrokenRow(f"{where}: not JSON ({error}); materialize the data set asset again") from error
            if not isinstance(row, dict):
                raise BrokenRow(f"{where}: a row must be a JSON object, found {type(row).__name__}")
            yield where, row


def required_text(where: str, row: dict[str, Any], key: str) -> str:
    """Return the non-empty text `row[key]`. Raises BrokenRow."""
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise BrokenRow(f"{where}: key {key!r} must be a non-empty text")
    return value


def required_messages(where: str, row: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the conversation `row[key]`: a non-empty list of `{"role", "content"}`, some with a `weight`.

    Raises BrokenRow.
    """
    value = row.get(key)
    well_formed = isinstance(value, list) and all(
        isinstance(message, dict) and isinstance(message.get("role"), str) and isinstance(message.get("content"), str)
        for message in value
    )
    if not value or not well_formed:
        raise BrokenRow(f"{where}: key {key!r} must be a non-empty list of objects with the texts role and content")
    read = ("role", "content", "weight")
    return [{name: message[name] for name in read if message.get(name) is not None} for message in value]
