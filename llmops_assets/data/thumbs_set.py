"""Builds a set of thumbs: single answers that a person approved of or did not, for KTO."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from llmops_assets.data.file_sources import find_files, records_of
from llmops_assets.data.formats.conversations import ConversationFormat
from llmops_assets.data.formats.thumbs import parse_thumb
from llmops_assets.data.jsonl import JsonLine, excerpt, write_jsonl
from llmops_assets.data.normalize import SpecialTokenGuard
from llmops_assets.data.quarantine import Quarantine
from llmops_assets.data.records import Message, QuarantinedRecord, Reason, RecordError, canonical_json, row_hash
from llmops_assets.data.registry_source import registry_records
from llmops_assets.data.specs import ConversationFilesSource, DataSetFiles, RegistryThumbsSource, Sources, ThumbsSource
from llmops_assets.data.tokens import TokenCounter
from llmops_assets.errors import LlmopsError


class EmptyThumbsSetError(LlmopsError):
    """No thumb up, or no thumb down, is left to learn from."""


class ThumbsSetSpec(BaseModel):
    """Where thumbs come from. A record is a conversation that ends with the answer, and has a `label`: true is up."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: Sources[ThumbsSource]
    max_quarantined_share: float = Field(default=0.2, gt=0, le=1, description="The asset fails above this share.")


def build_thumbs_set(spec: ThumbsSetSpec, tokenizer_file: Path, out_dir: Path, base_dir: Path) -> dict[str, Any]:
    """Write train.jsonl (`prompt`, `completion`, `label`) and quarantine.jsonl; returns the counts.

    Raises MissingSourceError, QuarantineLimitError and EmptyThumbsSetError; the quarantine is then written.
    """
    files, quarantine = DataSetFiles(folder=out_dir), Quarantine()
    guard = SpecialTokenGuard(TokenCounter(tokenizer_file).special_tokens)
    rows: dict[str, dict[str, Any]] = {}
    kept = Counter({source.name: 0 for source in spec.sources})
    for source in spec.sources:
        for found in _read(source, base_dir, guard):
            quarantine.read[source.name] += 1
            if isinstance(found, QuarantinedRecord):
                quarantine.add(found)
            elif (digest := row_hash(found)) in rows:
                detail = "the same answer with the same thumb was read before"
                quarantine.add(_rejected(source, "", 0, Reason.EXACT_DUPLICATE, detail, found))
            else:
                rows[digest] = found
                kept[source.name] += 1
    quarantine.write(files.quarantine)
    quarantine.check(spec.max_quarantined_share, where="thumbs_set")
    up = sum(row["label"] for row in rows.values())
    if not 0 < up < len(rows):
        raise EmptyThumbsSetError(
            f"the thumbs set has {up} thumbs up and {len(rows) - up} down; KTO needs both (see {files.quarantine})"
        )
    write_jsonl(files.train, rows.values())
    return {
        "train": len(rows),
        "up": up,
        "down": len(rows) - up,
        "quarantined": quarantine.by_reason(),
        "sources": dict(kept),
        "licenses": {source.name: source.license for source in spec.sources},
    }


def _read(
    source: ConversationFilesSource | RegistryThumbsSource, base_dir: Path, guard: SpecialTokenGuard
) -> Iterator[dict[str, Any] | QuarantinedRecord]:
    if isinstance(source, RegistryThumbsSource):
        for row in registry_records(source, base_dir):
            yield row if isinstance(row, QuarantinedRecord) else _thumb(row[1], row[0], source, "messages", guard)
        return
    for path, name in find_files(source, base_dir):
        for entry in records_of(path, name, source):
            yield _thumb(entry, name, source, source.format, guard) if isinstance(entry, JsonLine) else entry


def _thumb(
    entry: JsonLine,
    name: str,
    source: ConversationFilesSource | RegistryThumbsSource,
    layout: ConversationFormat,
    guard: SpecialTokenGuard,
) -> dict[str, Any] | QuarantinedRecord:
    try:
        _, messages, label = parse_thumb(entry.value, layout)
    except RecordError as error:
        return _rejected(source, name, entry.line, error.reason, str(error), entry.value)
    guarded = [Message(message.role, guard.neutralize(message.content)[0]) for message in messages]
    *prompt, answer = [message.to_row() for message in guarded]
    return {"prompt": prompt, "completion": answer["content"], "label": label}


def _rejected(
    source: ConversationFilesSource | RegistryThumbsSource,
    name: str,
    line: int,
    reason: Reason,
    detail: str,
    value: Mapping[str, Any],
) -> QuarantinedRecord:
    return QuarantinedRecord(source.name, name, line, reason, detail, excerpt(canonical_json(value)))
