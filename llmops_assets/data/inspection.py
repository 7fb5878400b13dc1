"""Looks at files of records before they become a source: what they hold, in which layout, and every problem at once."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from llmops_assets.data.formats.conversations import LAYOUTS as CONVERSATION_LAYOUTS
from llmops_assets.data.formats.conversations import parse_conversation
from llmops_assets.data.formats.eval_items import LAYOUTS as EVAL_LAYOUTS
from llmops_assets.data.formats.eval_items import parse_eval_item
from llmops_assets.data.formats.preferences import LAYOUTS as PREFERENCE_LAYOUTS
from llmops_assets.data.formats.preferences import parse_comparisons
from llmops_assets.data.formats.texts import class_of, optional_name, parse_text
from llmops_assets.data.formats.thumbs import parse_thumb
from llmops_assets.data.jsonl import JsonLine
from llmops_assets.data.quarantine import unreadable
from llmops_assets.data.records import QuarantinedRecord, RecordError
from llmops_assets.data.sources.record_files import RECORD_SUFFIXES, kind_of, read_records
from llmops_assets.errors import LlmopsError

Kind = Literal["corpus", "sft", "thumbs", "preferences", "eval"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Row = dict[str, Any]
_NAMES = ("id", "group")
_PAIRS = (("chosen", "rejected"), ("conversation_a", "conversation_b"))
# Those of conversations and of texts may be for training.
_EVAL_ALONE = {n: each for n, each in EVAL_LAYOUTS.items() if n not in CONVERSATION_LAYOUTS and n != "text"}


class UnknownKind(LlmopsError):
    """It cannot be told, or is not possible, what a file is meant for."""


@dataclass(frozen=True)
class ParsedRecord:
    """A record of a file: the line that it begins in, its layout, and its rows in the layout of their kind."""

    line: int
    layout: str
    rows: list[Row]


@dataclass
class FileReport:
    """What was found in a file so far. `why` tells what made it be taken for a file of `kind`."""

    path: Path
    kind: Kind
    why: str
    layouts: Counter[str] = field(default_factory=Counter)
    problems: list[QuarantinedRecord] = field(default_factory=list)

    def sentence(self) -> str:
        """Return what the file holds, in one line."""
        layouts = ", ".join(f"{count} as {name}" for name, count in self.layouts.most_common()) or "none that is usable"
        total = self.layouts.total() + len(self.problems)
        return f"{self.path}: {total} records for {self.kind} ({self.why}): {layouts}; {len(self.problems)} problems"


def read_uniform(
    path: Path, kind: Kind | None = None, layout: str = "auto"
) -> tuple[FileReport, Iterator[Row | QuarantinedRecord]]:
    """Return a report, which fills as the rows are taken, and the records of a file in the layout of their kind.

    Rows are `{"text"}`, `{"messages"}`, `{"messages", "label"}`, `{"prompt", "chosen", "rejected"}`, or `{"id",
    "prompt", "answers", ...}` of an eval item; documents and conversations keep their own `id` and `group`, and
    conversations their `category`. Without `kind`, the keys of the first record that has any tell it.

    Raises UnknownKind if a layout does not belong to the kind or the file cannot hold records, and UnreadableFileError.
    """
    report, parsed = read_parsed(path, kind, layout)
    return report, _rows(parsed)


def read_parsed(
    path: Path, kind: Kind | None = None, layout: str = "auto"
) -> tuple[FileReport, Iterator[ParsedRecord | QuarantinedRecord]]:
    """Return what `read_uniform` does, record by record with place and layout; raises as it does."""
    if kind_of(path) not in RECORD_SUFFIXES:
        raise UnknownKind(f"{path}: is none of {', '.join(RECORD_SUFFIXES)}; records are in files of these kinds")
    if kind is None:
        kind, why = _detected_kind(path)
    else:
        why = "as told"
    known = {
        "sft": CONVERSATION_LAYOUTS,
        "thumbs": CONVERSATION_LAYOUTS,
        "preferences": PREFERENCE_LAYOUTS,
        "eval": EVAL_LAYOUTS,
    }
    if layout != "auto" and layout not in known.get(kind, {}):
        choices = ", ".join(known.get(kind, {})) or "none to choose from"
        raise UnknownKind(f"{path}: {layout!r} is no layout of records for {kind}; known are {choices}")
    report = FileReport(path, kind, why)
    return report, _parsed(report, layout)


def _rows(parsed: Iterator[ParsedRecord | QuarantinedRecord]) -> Iterator[Row | QuarantinedRecord]:
    for entry in parsed:
        if isinstance(entry, ParsedRecord):
            yield from entry.rows
        else:
            yield entry


def _parsed(report: FileReport, layout: str) -> Iterator[ParsedRecord | QuarantinedRecord]:
    parse = _PARSERS[report.kind]
    for entry in read_records(report.path, source=report.path.stem, origin_file=str(report.path)):
        if isinstance(entry, JsonLine):
            try:
                name, rows = parse(entry.value, layout)
                named = _names(entry.value) if report.kind in ("corpus", "sft") else {}
            except RecordError as error:
                entry = unreadable(report.path.stem, str(report.path), entry, error)
            else:
                report.layouts[name] += 1
                yield ParsedRecord(entry.line, name, [{**named, **row} for row in rows])
                continue
        report.problems.append(entry)
        yield entry


def _names(value: Mapping[str, Any]) -> Row:
    """Return the names that a record of a kind that reads them may carry."""
    return {key: name for key in _NAMES if (name := optional_name(value, key)) is not None}


def _text(value: Mapping[str, Any], _: str) -> tuple[str, list[Row]]:
    return "text", [{"text": parse_text(value)}]


def _conversation(value: Mapping[str, Any], layout: Any) -> tuple[str, list[Row]]:
    name, messages = parse_conversation(value, layout)
    class_name = class_of(value, None)
    category = {} if class_name is None else {"category": class_name}
    return name, [{"messages": [message.to_row() for message in messages], **category}]


def _thumb(value: Mapping[str, Any], layout: Any) -> tuple[str, list[Row]]:
    name, messages, label = parse_thumb(value, layout)
    return name, [{"messages": [message.to_row() for message in messages], "label": label}]


def _comparison(value: Mapping[str, Any], layout: Any) -> tuple[str, list[Row]]:
    found = parse_comparisons(value, layout)
    prompts = ([message.to_row() for message in each.prompt] for each in found)
    rows = [{"prompt": p, "chosen": c.chosen, "rejected": c.rejected} for p, c in zip(prompts, found, strict=True)]
    return found[0].layout, rows


def _eval_item(value: Mapping[str, Any], layout: Any) -> tuple[str, list[Row]]:
    item = parse_eval_item(value, layout)
    return item.layout, [item.to_row()]


_PARSERS: dict[Kind, Callable[[Mapping[str, Any], str], tuple[str, list[Row]]]] = {
    "corpus": _text,
    "sft": _conversation,
    "thumbs": _thumb,
    "preferences": _comparison,
    "eval": _eval_item,
}


def _detected_kind(path: Path) -> tuple[Kind, str]:
    records = read_records(path, source=path.stem, origin_file=str(path))
    found = ({key for key in e.value if e.value[key] is not None} for e in records if isinstance(e, JsonLine))
    keys = next(filter(None, found), None)
    if keys is None:
        raise UnknownKind(f"{path}: holds no record, so it cannot be told what it is for; name that with --as")
    for pair in _PAIRS:
        if keys >= set(pair):
            return "preferences", f"it has {' and '.join(pair)}"
    if "label" in keys:
        return "thumbs", "it has label"
    told: dict[Kind, str] = {}
    needs: list[tuple[Kind, str, tuple[str, ...]]] = [
        *(("eval", name, layout.needs) for name, layout in _EVAL_ALONE.items()),
        *(("sft", name, layout.needs) for name, layout in CONVERSATION_LAYOUTS.items()),
    ]
    for kind, name, wanted in needs:
        if keys >= set(wanted):
            told.setdefault(kind, f"it has {' and '.join(wanted)}, as {name}")
    if len(told) == 1:
        return next(iter(told.items()))
    if told:
        choices = " or ".join(f"{kind} ({why})" for kind, why in told.items())
        raise UnknownKind(f"{path}: its first record could be for {choices}; say which with --as")
    if "text" in keys:
        return "corpus", "it has text"
    raise UnknownKind(
        f"{path}: its first record has the keys {sorted(keys)}, which fit no layout; name what it is for with --as "
        f"({', '.join(KINDS)}) to see what is missing; docs/data.md has the layouts"
    )
