"""Data sets of the Hugging Face hub as sources, at a pinned revision; `datasets` is imported only when one is read."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmops_assets.data.file_sources import MissingSourceError, conversation_of
from llmops_assets.data.formats.conversations import parse_conversation
from llmops_assets.data.formats.eval_items import EvalItem, parse_eval_item
from llmops_assets.data.formats.preferences import Comparison, parse_comparisons
from llmops_assets.data.formats.texts import class_of, parse_text
from llmops_assets.data.formats.turns import messages_of
from llmops_assets.data.jsonl import excerpt
from llmops_assets.data.named_sets import resolved
from llmops_assets.data.records import Conversation, Document, QuarantinedRecord, RecordError, canonical_json, row_hash
from llmops_assets.data.specs import (
    HubConversationsSource,
    HubEvalSource,
    HubPreferencesSource,
    HubSource,
    HubTextSource,
)
from llmops_assets.data.splits import pick

Row = dict[str, Any]


def hash_hub(source: HubSource, base_dir: Path) -> str:
    """Return the sha256 (hex) of what is read: data set at its commit (or files of a local folder) and selection.

    Without `revision` the hub is asked for the current commit; raises MissingSourceError if it does not answer.
    """
    source = resolved(source)
    folder = base_dir / source.dataset
    content = _hash_folder(folder) if folder.is_dir() else f"{source.dataset}@{_commit(source)}"
    told_otherwise = {"name", "dataset", "revision", "license", "kind", "weight", "max_repeats"}
    selection = source.model_dump(exclude=told_otherwise)
    return hashlib.sha256(f"{content}\0{canonical_json(selection)}".encode()).hexdigest()


def read_hub_documents(source: HubTextSource, base_dir: Path) -> Iterator[Document | QuarantinedRecord]:
    """Yield the texts in `source.column`."""
    for number, row in _rows(source, base_dir, source.column):
        try:
            text = parse_text(row, key=source.column)
        except RecordError as error:
            yield _rejected(error, source, number, row)
            continue
        identity, origin = f"{source.name}/{number}", f"{source.dataset}/{source.split}:{number}"
        yield Document(identity, text, source.name, origin, identity, source.license)


def read_hub_conversations(
    source: HubConversationsSource, base_dir: Path
) -> Iterator[Conversation | QuarantinedRecord]:
    """Yield the conversations in `source.column`, a list of turns, or in whole rows of the layout `source.format`."""
    source = resolved(source)
    for number, row in _rows(source, base_dir, source.column, source.class_key):
        try:
            class_name = class_of(row, source.class_key)
            if source.column is None:
                layout, messages = parse_conversation(row, source.format)
            else:
                layout, messages = "messages", messages_of(row[source.column], key=source.column)
        except RecordError as error:
            yield _rejected(error, source, number, row)
            continue
        origin = f"{source.dataset}/{source.split}:{number}"
        yield conversation_of(messages, layout, source.name, origin, class_name=class_name)


def read_hub_comparisons(
    source: HubPreferencesSource, base_dir: Path
) -> Iterator[tuple[str, Comparison] | QuarantinedRecord]:
    """Yield (origin, preference) of the rows."""
    source = resolved(source)
    for number, row in _rows(source, base_dir, None):
        try:
            comparisons = parse_comparisons(row, source.format)
        except RecordError as error:
            yield _rejected(error, source, number, row)
            continue
        yield from ((f"{source.dataset}/{source.split}:{number}", comparison) for comparison in comparisons)


def read_hub_eval_items(source: HubEvalSource, base_dir: Path) -> Iterator[EvalItem | QuarantinedRecord]:
    """Yield the eval items of the rows."""
    source = resolved(source)
    for number, row in _rows(source, base_dir, None):
        try:
            item = parse_eval_item(row, source.format)
        except RecordError as error:
            yield _rejected(error, source, number, row)
            continue
        origin = f"{source.dataset}/{source.split}:{number}"
        yield replace(item, id=f"{source.name}/{item.id}", source=source.name, origin=origin)


def _rejected(error: RecordError, source: HubSource, number: int, row: Row) -> QuarantinedRecord:
    origin = f"{source.dataset}/{source.split}"
    return QuarantinedRecord(source.name, origin, number, error.reason, str(error), excerpt(str(row)))


def _rows(source: HubSource, base_dir: Path, column: str | None, also: str | None = None) -> Iterator[tuple[int, Row]]:
    """Yield (1-based number, row) of the rows to use: `max_records` of them, drawn by the hash of their content."""
    loaded = _loaded(source, base_dir)
    if column is not None:
        columns = {column: "column"} if also is None else {column: "column", also: "class_key"}
        for name, key in columns.items():
            if name not in (loaded.column_names or []):
                raise MissingSourceError(
                    f"source '{source.name}': data set {source.dataset} has no column '{name}'; "
                    f"it has {loaded.column_names}. Set `{key}` to one of these"
                )
        loaded = loaded.select_columns(list(columns))
    numbers: Any = range(len(loaded))
    if source.max_records is not None:
        hashes = [_draw_key(row) for row in loaded]
        numbers = pick(numbers, source.max_records, seed=0, key=lambda number: hashes[number])
    for number in numbers:
        yield number + 1, dict(loaded[number])


def _loaded(source: HubSource, base_dir: Path) -> Any:
    from datasets import load_dataset

    folder = base_dir / source.dataset
    try:
        if folder.is_dir():
            return load_dataset(str(folder), source.subset, split=source.split)
        return load_dataset(source.dataset, source.subset, split=source.split, revision=_commit(source))
    except MissingSourceError:
        raise
    except Exception as error:  # load_dataset raises what its many loaders raise; to a reader they are all this one
        raise _missing(source, error) from error


def _draw_key(row: Row) -> str:
    """Return the hash of a row; what JSON lacks, such as dates, counts as Python writes it."""
    return row_hash(json.loads(json.dumps(row, default=repr), parse_constant=str))


def _commit(source: HubSource) -> str:
    if source.revision is not None:
        return source.revision
    from huggingface_hub import HfApi

    try:
        sha = HfApi().dataset_info(source.dataset).sha
    except Exception as error:  # hub errors and those of the HTTP client have no common base
        raise _missing(source, error) from error
    if sha is None:
        raise _missing(source, "the hub names no commit")
    return sha


def _hash_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def _missing(source: HubSource, cause: object) -> MissingSourceError:
    revision = f"@{source.revision}" if source.revision else ""
    return MissingSourceError(
        f"source '{source.name}': data set {source.dataset}{revision} (subset {source.subset}, split '{source.split}') "
        f"cannot be read: {cause}. Check `dataset`, `subset` and `split`, the network and HF_TOKEN; "
        "pin `revision` so that a cached copy is found offline"
    )
