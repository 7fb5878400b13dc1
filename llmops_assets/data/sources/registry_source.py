"""Data sets of a LLaMA-Factory registry as sources: files or hub data sets, whose rows are read as the entry says."""

import glob
from collections.abc import Iterator, Mapping
from heapq import nsmallest
from pathlib import Path, PurePosixPath
from typing import Any

from llmops_assets.data.formats.conversations import parse_conversation
from llmops_assets.data.formats.preferences import Comparison, parse_comparisons
from llmops_assets.data.formats.texts import class_of, optional_name, parse_text
from llmops_assets.data.jsonl import LONGEST_LINE, JsonLine, excerpt, raw_lines
from llmops_assets.data.quarantine import unreadable
from llmops_assets.data.records import (
    Conversation,
    Document,
    QuarantinedRecord,
    Reason,
    RecordError,
    row_hash,
)
from llmops_assets.data.sources.file_sources import (
    MissingSourceError,
    conversation_of,
    file_facts,
    find_files,
    pinned_files,
    records_of,
)
from llmops_assets.data.sources.hub_source import hub_facts, pinned_hub, read_hub_rows
from llmops_assets.data.sources.lakefs_files import is_lakefs, names_commit
from llmops_assets.data.sources.parsing import PlacedRow, parsed
from llmops_assets.data.sources.record_files import kind_of, open_binary, readable
from llmops_assets.data.sources.registry.columns import Columns, check_purpose
from llmops_assets.data.sources.registry.entries import (
    ELSEWHERE,
    Entry,
    RegistryError,
    entry_of,
    parsed_entries,
    samples_of,
)
from llmops_assets.data.sources.registry.rows import AS_RECORD
from llmops_assets.data.sources.remote_files import RemoteFileError, is_url, without_secrets
from llmops_assets.data.sources.source_facts import SourceFacts
from llmops_assets.data.sources.specs import (
    FilesSource,
    HubSource,
    RegistryConversationsSource,
    RegistryPreferencesSource,
    RegistrySource,
    RegistryTextSource,
    RegistryThumbsSource,
)
from llmops_assets.data.sources.text_encodings import decoded
from llmops_assets.data.splits import draw

_SECTIONS: dict[type[RegistrySource], str] = {
    RegistryTextSource: "corpus",
    RegistryConversationsSource: "sft_set",
    RegistryThumbsSource: "thumbs_set",
    RegistryPreferencesSource: "preferences",
}


def pinned_registry(source: RegistrySource, base_dir: Path) -> RegistrySource:
    """Return `source` with its registry at a commit of LakeFS, its hub data set at one of the hub; others as they are.

    Raises MissingSourceError.
    """
    file = pinned_files(FilesSource(name=source.name, pattern=source.file)).pattern
    pinned = source.model_copy(update={"file": file})
    _, place = _place(pinned, base_dir)
    revision = pinned_hub(place, base_dir).revision if isinstance(place, HubSource) else None
    return pinned.model_copy(update={"revision": revision})


def registry_facts(source: RegistrySource, base_dir: Path) -> SourceFacts:
    """Return what is known about the files or the data set of the entry; the entry is part of the content hash.

    Raises MissingSourceError.
    """
    entry, place = _place(source, base_dir)
    facts = hub_facts(place, base_dir) if isinstance(place, HubSource) else file_facts(place, base_dir)
    content_hash = row_hash({"entry": dict(entry), "data": facts.content_hash})
    return facts.model_copy(update={"kind": source.kind, "content_hash": content_hash})


def read_registry_documents(source: RegistryTextSource, base_dir: Path) -> Iterator[Document | QuarantinedRecord]:
    """Yield the documents of a set for pre-training: column `prompt`, or the lines of a text file."""

    def parse(value: Mapping[str, Any], origin: str) -> list[Document]:
        identity = f"{source.name}/{origin}"
        return [Document(identity, parse_text(value), source.name, origin, identity, source.license)]

    return parsed(source.name, registry_records(source, base_dir), parse)


def read_registry_conversations(
    source: RegistryConversationsSource, base_dir: Path
) -> Iterator[Conversation | QuarantinedRecord]:
    """Yield the conversations of a set."""

    def parse(value: Mapping[str, Any], origin: str) -> list[Conversation]:
        layout, messages = parse_conversation(value, "messages")
        identity, group = optional_name(value, "id"), optional_name(value, "group")
        class_name = class_of(value, None)
        return [
            conversation_of(
                messages, layout, source.name, origin, identity=identity, group=group, class_name=class_name
            )
        ]

    return parsed(source.name, registry_records(source, base_dir), parse)


def read_registry_comparisons(
    source: RegistryPreferencesSource, base_dir: Path
) -> Iterator[tuple[str, Comparison] | QuarantinedRecord]:
    """Yield (origin, preference) of a set of pairs."""

    def parse(value: Mapping[str, Any], origin: str) -> list[tuple[str, Comparison]]:
        return [(origin, comparison) for comparison in parse_comparisons(value, "sharegpt")]

    return parsed(source.name, registry_records(source, base_dir), parse)


def registry_records(source: RegistrySource, base_dir: Path) -> Iterator[PlacedRow]:
    """Yield the rows of a set as records of its section: `text`, `messages`, or `conversations` with two answers.

    Of an entry with `num_samples` so many are drawn by hash, never more than there are. Raises MissingSourceError
    naming source, registry and entry if there is no such set, or no lane can read it.
    """
    entry, place = _place(source, base_dir)
    section, columns = _SECTIONS[type(source)], Columns.of(entry)
    for row in _rows(place, base_dir, samples_of(entry)):
        if isinstance(row, QuarantinedRecord) or kind_of(Path(row[0])) == ".txt":
            yield row
            continue
        name, record = row
        try:
            value = AS_RECORD[section](record.value, columns)
            told = _told(record.value) if section == "sft_set" else {}
            yield name, JsonLine(record.line, told | value)
        except RecordError as error:
            yield unreadable(source.name, name, record, error)


def _told(row: Mapping[str, Any]) -> dict[str, str]:
    """Return what a row says of itself beside its columns, where that is text: a registry has no column for it."""
    found = {key: row.get(key) for key in ("id", "group", "category", "class")}
    return {key: value for key, value in found.items() if isinstance(value, str) and value.strip()}


def _rows(place: FilesSource | HubSource, base_dir: Path, count: int | None) -> Iterator[PlacedRow]:
    if isinstance(place, HubSource):
        yield from read_hub_rows(place, base_dir)
    elif count is None:
        yield from _file_rows(place, base_dir)
    else:
        draws = (
            (draw(0, row_hash(row[1].value)), index)
            for index, row in enumerate(_file_rows(place, base_dir))
            if not isinstance(row, QuarantinedRecord)
        )
        drawn = {index for _, index in nsmallest(count, draws)}
        for index, row in enumerate(_file_rows(place, base_dir)):
            if index in drawn or isinstance(row, QuarantinedRecord):
                yield row


def _file_rows(place: FilesSource, base_dir: Path) -> Iterator[PlacedRow]:
    for path, name in find_files(place, base_dir):
        if kind_of(path) == ".txt":
            yield from _lines(path, name, place)
        else:
            for row in records_of(path, name, place, also=(".txt",)):
                yield row if isinstance(row, QuarantinedRecord) else (name, row)


def _lines(path: Path, name: str, place: FilesSource) -> Iterator[PlacedRow]:
    """Yield the lines of a text file that hold text, each a row with the column `text`."""
    with readable(path), open_binary(path) as stream:
        for number, line in raw_lines(stream):
            if line is None:
                detail = f"the line has more than {LONGEST_LINE} bytes"
                yield QuarantinedRecord(place.name, name, number, Reason.TOO_LARGE, detail, "")
                continue
            try:
                text = decoded(line, "utf-8").strip("\r\n")
            except RecordError as error:
                yield QuarantinedRecord(place.name, name, number, error.reason, str(error), excerpt(line))
                continue
            if text.strip():
                yield name, JsonLine(number, {"text": text})


def _place(source: RegistrySource, base_dir: Path) -> tuple[Entry, FilesSource | HubSource]:
    """Return the entry of `source`, and the files or hub data set that it stands for."""
    shown = without_secrets(source.file)
    try:
        entry = entry_of(parsed_entries(_registry(source, base_dir), shown), source.dataset, shown)
    except RegistryError as error:
        raise MissingSourceError(f"source '{source.name}': {error}") from error
    try:
        check_purpose(Columns.of(entry), _SECTIONS[type(source)])
        return entry, _hub(source, entry) if entry.get("hf_hub_url") else _files(source, entry, base_dir)
    except (RegistryError, RemoteFileError) as error:
        raise MissingSourceError(f"source '{source.name}': {shown}: {source.dataset}: {error}") from error


def _registry(source: RegistrySource, base_dir: Path) -> bytes:
    if is_url(source.file):
        [(path, _), *_] = find_files(FilesSource(name=source.name, pattern=source.file), base_dir)
        return path.read_bytes()
    try:
        return (base_dir / source.file).read_bytes()
    except OSError as error:
        raise MissingSourceError(
            f"source '{source.name}': `file: {source.file}` of the recipe in {base_dir} cannot be read "
            f"({error.strerror}); name a dataset_info.json (relative paths start at the recipe's folder)"
        ) from error


def _hub(source: RegistrySource, entry: Entry) -> HubSource:
    return HubSource(
        name=source.name,
        dataset=entry["hf_hub_url"],
        subset=entry.get("subset"),
        folder=entry.get("folder"),
        split=entry.get("split") or "train",
        revision=source.revision,
        max_records=samples_of(entry),
        license=source.license,
    )


def _files(source: RegistrySource, entry: Entry, base_dir: Path) -> FilesSource:
    if other := next((key for key in ELSEWHERE if entry.get(key)), None):
        raise RegistryError(f"`{other}`: {ELSEWHERE[other]}; a lane reads files and the Hugging Face hub; download it")
    if source.revision is not None:
        raise RegistryError("`revision` is that of a hub data set, and the entry names files; remove it")
    if entry.get("split") not in (None, "train"):
        raise RegistryError(f"`split: {entry['split']}` of a file cannot be honoured; write those rows to a file")
    samples_of(entry)
    return FilesSource(name=source.name, pattern=_pattern(source.file, entry, base_dir), license=source.license)


def _pattern(registry: str, entry: Entry, base_dir: Path) -> str:
    """Return the glob of an entry's file, or of all files in its folder; they lie beside the registry."""
    if cloud := entry.get("cloud_file_name"):
        if is_lakefs(cloud) and not names_commit(cloud):
            raise RegistryError(
                f"`cloud_file_name: {without_secrets(cloud)}` moves; name the commit, not a branch or tag"
            )
        return cloud if PurePosixPath(cloud).suffix else f"{cloud.rstrip('/')}/*"
    name = entry.get("file_name")
    if not isinstance(name, str) or not name:
        raise RegistryError(f"`file_name` must name a file or folder, and is {name!r}; mend the entry")
    place = f"{registry.rpartition('/')[0]}/{name}" if is_url(registry) else (Path(registry).parent / name).as_posix()
    is_folder = not PurePosixPath(name).suffix if is_url(registry) else (base_dir / place).is_dir()
    return glob.escape(place) + ("/*" if is_folder else "")
