"""Data sets of the Hugging Face hub as sources, at a pinned revision; `datasets` is imported only when one is read."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmops_assets.data.file_sources import MissingSourceError, conversation_group
from llmops_assets.data.formats import messages_of, parse_text
from llmops_assets.data.jsonl import excerpt
from llmops_assets.data.records import Conversation, Document, QuarantinedRecord, RecordError, canonical_json, row_hash
from llmops_assets.data.specs import HubSource
from llmops_assets.data.splits import pick


def hash_hub(source: HubSource, base_dir: Path) -> str:
    """Return the sha256 (hex) of what is read: data set at its commit (or files of a local folder) and selection.

    Without `revision` the hub is asked for the current commit; raises MissingSourceError if it does not answer.
    """
    folder = base_dir / source.dataset
    content = _hash_folder(folder) if folder.is_dir() else f"{source.dataset}@{_commit(source)}"
    selection = source.model_dump(exclude={"name", "dataset", "revision", "license", "kind"})
    return hashlib.sha256(f"{content}\0{canonical_json(selection)}".encode()).hexdigest()


def read_hub_documents(source: HubSource, base_dir: Path) -> Iterator[Document | QuarantinedRecord]:
    """Yield the texts in `source.column`."""
    for number, row in _rows(source, base_dir):
        origin = f"{source.dataset}/{source.split}"
        try:
            text = parse_text(row, key=source.column)
        except RecordError as error:
            yield QuarantinedRecord(source.name, origin, number, error.reason, str(error), excerpt(str(row)))
            continue
        identity = f"{source.name}/{number}"
        yield Document(identity, text, source.name, f"{origin}:{number}", identity, source.license)


def read_hub_conversations(source: HubSource, base_dir: Path) -> Iterator[Conversation | QuarantinedRecord]:
    """Yield the conversations in `source.column`, a list of `{"role", "content"}`."""
    for number, row in _rows(source, base_dir):
        origin = f"{source.dataset}/{source.split}"
        try:
            messages = messages_of(row[source.column], key=source.column)
        except RecordError as error:
            yield QuarantinedRecord(source.name, origin, number, error.reason, str(error), excerpt(str(row)))
            continue
        identity = f"{source.name}/{row_hash([message.to_row() for message in messages])[:16]}"
        group = conversation_group(next(message.content for message in messages if message.role == "user"))
        spans = (None,) * sum(message.role == "assistant" for message in messages)
        yield Conversation(identity, messages, source.name, f"{origin}:{number}", group, "dataset", spans)


def _rows(source: HubSource, base_dir: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return (1-based number, row) of the rows to use: `max_records` of them, drawn by the hash of their content."""
    from datasets import load_dataset

    folder = base_dir / source.dataset
    try:
        if folder.is_dir():
            loaded = load_dataset(str(folder), source.subset, split=source.split)
        else:
            loaded = load_dataset(source.dataset, source.subset, split=source.split, revision=_commit(source))
    except MissingSourceError:
        raise
    except Exception as error:  # load_dataset raises what its many loaders raise; to a reader they are all this one
        raise _missing(source, error) from error
    if source.column not in (loaded.column_names or []):
        raise MissingSourceError(
            f"source '{source.name}': data set {source.dataset} has no column '{source.column}'; "
            f"it has {loaded.column_names}. Set `column` to one of these"
        )
    numbered = [(number, dict(row)) for number, row in enumerate(loaded.select_columns([source.column]), start=1)]
    return pick(numbered, source.max_records, seed=0, key=lambda item: row_hash(item[1]))


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
