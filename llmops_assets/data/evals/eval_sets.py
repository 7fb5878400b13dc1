"""Eval sets: what a lane is measured on, as typed items, whatever layout they come in."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from llmops_assets.data.formats.eval_items import EvalItem, parse_eval_item
from llmops_assets.data.jsonl import JsonLine, write_jsonl
from llmops_assets.data.quarantine import Quarantine, unreadable, unwanted
from llmops_assets.data.records import Document, QuarantinedRecord, Reason, RecordError, row_hash
from llmops_assets.data.sources.file_sources import find_files, read_documents_of, records_of
from llmops_assets.data.sources.hub_source import read_hub_eval_items
from llmops_assets.data.sources.reading import license_of, source_hash
from llmops_assets.data.sources.record_files import kind_of
from llmops_assets.data.sources.specs import EvalFilesSource, EvalSource, HubEvalSource, Sources
from llmops_assets.data.sources.text_files import TEXT_KINDS, TEXT_SUFFIXES
from llmops_assets.errors import LlmopsError

ITEMS_FILE = "items.jsonl"
_NAMES = frozenset({"id", "group", "layout", "source", "origin"})


class EmptyEvalSetError(LlmopsError):
    """A source of eval items holds none that can be used."""


class EvalSetsSpec(BaseModel):
    """What the lane is measured on. No training set of the lane may hold an item of these sets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: Sources[EvalSource]
    max_quarantined_share: float = Field(default=0.05, gt=0, le=1, description="The asset fails above this share.")


def build_eval_sets(spec: EvalSetsSpec, out_dir: Path, base_dir: Path) -> dict[str, Any]:
    """Write items.jsonl and quarantine.jsonl; return counts by source and layout, licences and hashes.

    The id of an item is `source/id`; one that is read twice is kept once. Items are never cut or drawn: an eval set is
    used whole. Raises MissingSourceError, UnreadableFileError, QuarantineLimitError and EmptyEvalSetError; the
    quarantine is written before the last two.
    """
    quarantine, kept = Quarantine(), dict[str, EvalItem]()
    layouts: dict[str, Counter[str]] = {}
    contents: dict[str, str] = {}
    for source in spec.sources:
        counts = layouts[source.name] = Counter()
        for found in read_eval_source(source, base_dir):
            quarantine.read[source.name] += 1
            if isinstance(found, QuarantinedRecord):
                quarantine.add(found)
                continue
            content = row_hash({key: value for key, value in found.to_row().items() if key not in _NAMES})
            if first := contents.get(content):
                quarantine.add(_rejected(found, Reason.EXACT_DUPLICATE, f"the same item is {first}"))
            elif found.id in kept:
                quarantine.add(_rejected(found, Reason.DUPLICATE_ID, f"the id {found.id!r} is taken by another item"))
            else:
                contents[content] = found.id
                kept[found.id] = found
                counts[found.layout] += 1
    quarantine.write(out_dir / "quarantine.jsonl")
    quarantine.check(spec.max_quarantined_share, where="eval_sets")
    for name, counts in layouts.items():
        if not counts:
            raise EmptyEvalSetError(
                f"source '{name}' of eval_sets holds no item that can be used ({quarantine.read[name]} records read; "
                f"see {out_dir / 'quarantine.jsonl'})"
            )
    write_jsonl(out_dir / ITEMS_FILE, (item.to_row() for item in kept.values()))
    return {
        "items": {name: counts.total() for name, counts in layouts.items()},
        "formats": {name: dict(sorted(counts.items())) for name, counts in layouts.items()},
        "quarantined": quarantine.by_reason(),
        "licenses": {source.name: license_of(source) for source in spec.sources},
        "source_hashes": {source.name: source_hash(source, base_dir) for source in spec.sources},
    }


def read_items(items_file: Path) -> Iterator[EvalItem]:
    """Yield the items that `build_eval_sets` wrote."""
    with items_file.open(encoding="utf-8") as stream:
        for line in stream:
            row = json.loads(line)
            item = parse_eval_item(row, "items")
            yield replace(item, layout=row["layout"], source=row["source"], origin=row["origin"])


def read_eval_source(source: EvalSource, base_dir: Path) -> Iterator[EvalItem | QuarantinedRecord]:
    """Yield the items of `source` in a reproducible order, and what had to be rejected.

    Raises MissingSourceError if there is nothing to read, and UnreadableFileError for a broken file.
    """
    match source:
        case EvalFilesSource():
            return _file_items(source, base_dir)
        case HubEvalSource():
            return read_hub_eval_items(source, base_dir)


def _file_items(source: EvalFilesSource, base_dir: Path) -> Iterator[EvalItem | QuarantinedRecord]:
    for path, name in find_files(source, base_dir):
        if kind_of(path) in TEXT_SUFFIXES:
            for found in read_documents_of(path, name, source):
                yield _text_item(found) if isinstance(found, Document) else found
        else:
            for entry in records_of(path, name, source, also=TEXT_KINDS):
                yield _record_item(entry, name, source) if isinstance(entry, JsonLine) else entry


def _text_item(document: Document) -> EvalItem:
    return EvalItem(
        id=document.id,
        prompt="",
        answers=(document.text,),
        layout="text",
        group=document.group,
        source=document.source,
        origin=document.origin,
    )


def _record_item(entry: JsonLine, name: str, source: EvalFilesSource) -> EvalItem | QuarantinedRecord:
    try:
        item = parse_eval_item(entry.value, source.format)
    except RecordError as error:
        return unreadable(source.name, name, entry, error)
    return replace(item, id=f"{source.name}/{item.id}", source=source.name, origin=f"{name}:{entry.line}")


def _rejected(item: EvalItem, reason: Reason, detail: str) -> QuarantinedRecord:
    return unwanted(item.source, item.origin, reason, detail, item.texts()[0])
