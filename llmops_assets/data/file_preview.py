"""The first records of a file as a recipe would read them: what they became, in which layout, and what is rejected."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from llmops_assets.data.inspection import Kind, ParsedRecord, UnknownKind, read_parsed
from llmops_assets.data.records import Document, QuarantinedRecord
from llmops_assets.data.sources.code_files import LANGUAGES
from llmops_assets.data.sources.record_files import kind_of
from llmops_assets.data.sources.specs import TextFilesSource
from llmops_assets.data.sources.text_files import TEXT_SUFFIXES, read_text_file

_LONGEST = 1000
_TEXTS = {".txt": "plain text", ".md": "Markdown"}


class PreviewLine(NamedTuple):
    """A line for a terminal, and what it is."""

    kind: Literal["title", "place", "label", "text", "problem"]
    text: str


def preview_file(path: Path, kind: Kind | None, layout: str, *, count: int, first: int) -> Iterator[PreviewLine]:
    """Yield `count` records of a file from record `first` (from 0) on, rejected ones among them with their reason.

    Files of text hold documents. Long texts are cut, which is said. Raises UnknownKind and UnreadableFileError.
    """
    if kind_of(path) in TEXT_SUFFIXES:
        yield from _preview_documents(path, kind, count=count, first=first)
        return
    report, parsed = read_parsed(path, kind, layout)
    yield PreviewLine("title", f"{path}: for {report.kind} ({report.why})")
    shown = rejected = 0
    for entry in islice(parsed, first, first + count):
        shown += 1
        if isinstance(entry, ParsedRecord):
            yield PreviewLine("place", f"line {entry.line}, {entry.layout}")
            for row in entry.rows:
                yield from _row(row)
        else:
            rejected += 1
            yield from _problem(entry)
    yield PreviewLine("place", f"{shown} records shown, {rejected} of them rejected")


def _preview_documents(path: Path, kind: Kind | None, *, count: int, first: int) -> Iterator[PreviewLine]:
    if kind not in (None, "corpus", "eval"):
        raise UnknownKind(
            f"{path}: is a file of text, which holds documents for corpus or eval, and nothing for {kind}"
        )
    suffix = kind_of(path)
    what = _TEXTS.get(suffix) or LANGUAGES.get(suffix) or "web page"
    yield PreviewLine("title", f"{path}: for {kind or 'corpus'} (by its suffix: {what})")
    source = TextFilesSource(name="preview", pattern=str(path))
    for found in islice(read_text_file(path, str(path), source), first, first + count):
        if isinstance(found, QuarantinedRecord):
            yield from _problem(found)
        else:
            yield from _document(found)


def _document(document: Document) -> Iterator[PreviewLine]:
    facts = ", ".join(f"{key} {value}" for key, value in document.metadata.items())
    yield PreviewLine("place", f"group {document.group}{', ' + facts if facts else ''}")
    yield PreviewLine("text", _cut(document.text))


def _row(row: Mapping[str, Any]) -> Iterator[PreviewLine]:
    for key, value in row.items():
        if _are_turns(value):
            for turn in value:
                weight = "" if turn.get("weight") is None else f" (weight {turn['weight']})"
                yield PreviewLine("label", f"{turn['role']}{weight}:")
                yield PreviewLine("text", _cut(turn["content"]))
        elif value not in ("", [], ()):
            yield PreviewLine("label", f"{key}:")
            for each in value if isinstance(value, list) else [value]:
                yield PreviewLine("text", _cut(each if isinstance(each, str) else json.dumps(each, ensure_ascii=False)))


def _are_turns(value: object) -> bool:
    return (
        isinstance(value, Sequence) and bool(value) and all(isinstance(turn, dict) and "role" in turn for turn in value)
    )


def _problem(record: QuarantinedRecord) -> Iterator[PreviewLine]:
    yield PreviewLine("place", f"line {record.line}")
    yield PreviewLine("problem", f"rejected, {record.reason}: {record.detail}")
    yield PreviewLine("text", record.excerpt)


def _cut(text: str) -> str:
    more = len(text) - _LONGEST
    return text if more <= 0 else f"{text[:_LONGEST]}\n... {more:,} more characters"
