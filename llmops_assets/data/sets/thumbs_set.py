"""Builds a set of thumbs: single answers that a person approved of or did not, for KTO."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from llmops_assets.data.formats.thumbs import parse_thumb
from llmops_assets.data.jsonl import JsonLine, write_jsonl
from llmops_assets.data.normalize import SpecialTokenGuard
from llmops_assets.data.quarantine import Quarantine, unreadable, unwanted
from llmops_assets.data.records import Message, QuarantinedRecord, Reason, RecordError, canonical_json, row_hash
from llmops_assets.data.sets.data_set import DataSetFiles
from llmops_assets.data.sources.file_sources import file_entries
from llmops_assets.data.sources.parsing import PlacedRow
from llmops_assets.data.sources.registry_source import registry_records
from llmops_assets.data.sources.specs import RegistryThumbsSource, Sources, ThumbFilesSource, ThumbsSource
from llmops_assets.data.splits import Sample
from llmops_assets.data.tokens import TokenCounter
from llmops_assets.errors import LlmopsError

AnyThumbs = ThumbFilesSource | RegistryThumbsSource
Row = dict[str, Any]
_SAID = ("prompt", "completion", "label")


class EmptyThumbsSetError(LlmopsError):
    """No thumb up, or no thumb down, is left to learn from."""


class ThumbsSetSpec(BaseModel):
    """Where thumbs come from. A record is a conversation that ends with the answer, and has a `label`: true is up."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: Sources[ThumbsSource]
    max_quarantined_share: float = Field(default=0.2, gt=0, le=1, description="The asset fails above this share.")


def build_thumbs_set(
    spec: ThumbsSetSpec, tokenizer_file: Path, out_dir: Path, base_dir: Path, eval_items: Path | None = None
) -> dict[str, Any]:
    """Write train.jsonl (`prompt`, `completion`, `label`, `source`, `origin`) and quarantine.jsonl; returns the counts.

    An answer with both thumbs, and rows that hold an item of the eval sets in `eval_items`, are not trained on.

    Raises MissingSourceError, QuarantineLimitError and EmptyThumbsSetError; the quarantine is then written.
    """
    files, quarantine = DataSetFiles(folder=out_dir), Quarantine()
    guard = SpecialTokenGuard(TokenCounter(tokenizer_file).special_tokens)
    answers: dict[str, list[Row]] = {}
    not_drawn: Counter[str] = Counter()
    for source in spec.sources:
        for row in _drawn(source, base_dir, guard, quarantine, not_drawn):
            _add(row, answers.setdefault(_answer_key(row), []), quarantine)
    rows = _undisputed(answers, quarantine)
    for digest, leak in _leaks(rows, eval_items).items():
        quarantine.add(_refused(rows.pop(digest), Reason.CONTAMINATED, leak))
    quarantine.write(files.quarantine)
    quarantine.check(spec.max_quarantined_share, where="thumbs_set")
    up = sum(row["label"] for row in rows.values())
    if not 0 < up < len(rows):
        raise EmptyThumbsSetError(
            f"the thumbs set has {up} thumbs up and {len(rows) - up} down; KTO needs both (see {files.quarantine})"
        )
    write_jsonl(files.train, rows.values())
    sources = {
        source.name: _source_counts(source.name, rows.values(), quarantine, not_drawn[source.name])
        for source in spec.sources
    }
    return {
        "train": len(rows),
        "up": up,
        "down": len(rows) - up,
        "quarantined": quarantine.by_reason(),
        "sources": sources,
        "licenses": {source.name: source.license for source in spec.sources},
    }


def _drawn(
    source: AnyThumbs, base_dir: Path, guard: SpecialTokenGuard, quarantine: Quarantine, not_drawn: Counter[str]
) -> Iterator[Row]:
    """Yield the thumbs of a source: all, or those of `max_records` answers, and count the others."""
    usable = _usable(source, base_dir, guard, quarantine)
    if isinstance(source, RegistryThumbsSource) or source.max_records is None:
        yield from usable
        return
    # Both thumbs of an answer are drawn or neither is, so that no draw hides that they contradict each other.
    sample: Sample[list[Row]] = Sample(source.max_records, seed=0)
    for row in usable:
        answer = [row]
        first = sample.offer(answer, _answer_key(row))
        if first is None or _add(row, first, quarantine):
            not_drawn[source.name] += 1
    for answer in sample.items():
        not_drawn[source.name] -= len(answer)
        yield from answer


def _answer_key(row: Row) -> str:
    return row_hash([row["prompt"], row["completion"]])


def _add(row: Row, answer: list[Row], quarantine: Quarantine) -> bool:
    """Add a thumb to those of the same answer, unless one of them is the same."""
    for other in answer:
        if other["label"] == row["label"]:
            detail = f"the same answer with the same thumb is {other['origin']}"
            quarantine.add(_refused(row, Reason.EXACT_DUPLICATE, detail))
            return False
    answer.append(row)
    return True


def _undisputed(answers: Mapping[str, list[Row]], quarantine: Quarantine) -> dict[str, Row]:
    """Return the answers with one thumb by their key; both thumbs of the others go to `quarantine`."""
    rows: dict[str, Row] = {}
    for key, answer in answers.items():
        if len(answer) == 1:
            rows[key] = answer[0]
            continue
        for row, other in zip(answer, reversed(answer), strict=True):
            detail = f"{other['origin']} has the same answer with the other thumb"
            quarantine.add(_refused(row, Reason.CONTRADICTION, detail))
    return rows


def _usable(source: AnyThumbs, base_dir: Path, guard: SpecialTokenGuard, quarantine: Quarantine) -> Iterator[Row]:
    for record in _records(source, base_dir):
        quarantine.read[source.name] += 1
        found = record if isinstance(record, QuarantinedRecord) else _thumb(*record, source, guard)
        if isinstance(found, QuarantinedRecord):
            quarantine.add(found)
        else:
            yield found


def _records(source: AnyThumbs, base_dir: Path) -> Iterator[PlacedRow]:
    is_registry = isinstance(source, RegistryThumbsSource)
    return registry_records(source, base_dir) if is_registry else file_entries(source, base_dir)


def _source_counts(name: str, rows: Iterable[Row], quarantine: Quarantine, not_drawn: int) -> dict[str, int]:
    labels = [row["label"] for row in rows if row["source"] == name]
    return {
        "read": quarantine.read[name],
        "kept": len(labels),
        "up": sum(labels),
        "quarantined": quarantine.rejected(name),
        "not_drawn": not_drawn,
    }


def _leaks(rows: Mapping[str, Row], eval_items: Path | None) -> dict[str, str]:
    """Return what shows that a row holds an eval item, by the hash of the row."""
    if eval_items is None:
        return {}
    # numpy is for those who build, not for the code location, which imports this module.
    from llmops_assets.data.evals.decontamination import EvalIndex, leaking_rows

    leaks = leaking_rows(list(rows.values()), EvalIndex.load(eval_items))
    return {digest: str(leak) for digest, leak in zip(rows, leaks, strict=True) if leak is not None}


def _thumb(name: str, entry: JsonLine, source: AnyThumbs, guard: SpecialTokenGuard) -> Row | QuarantinedRecord:
    layout = "messages" if isinstance(source, RegistryThumbsSource) else source.format
    try:
        _, messages, label = parse_thumb(entry.value, layout)
    except RecordError as error:
        return unreadable(source.name, name, entry, error)
    guarded = [Message(message.role, guard.neutralize(message.content)[0]) for message in messages]
    *prompt, answer = [message.to_row() for message in guarded]
    said = {"prompt": prompt, "completion": answer["content"], "label": label}
    return {**said, "source": source.name, "origin": f"{name}:{entry.line}"}


def _refused(row: Row, reason: Reason, detail: str) -> QuarantinedRecord:
    """Return the quarantine entry of a well-formed thumb that is not wanted."""
    said = {name: row[name] for name in _SAID}
    return unwanted(row["source"], row["origin"], reason, detail, canonical_json(said))
