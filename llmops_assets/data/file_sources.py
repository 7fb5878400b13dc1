"""Local files as sources: `.txt` and `.md` hold one document each, `.jsonl` one record a line."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from llmops_assets.data.formats import optional_name, parse_conversation, parse_text
from llmops_assets.data.jsonl import JsonLine, excerpt, read_jsonl
from llmops_assets.data.normalize import comparison_key, normalize_text
from llmops_assets.data.records import (
    Conversation,
    Document,
    QuarantinedRecord,
    Reason,
    RecordError,
    canonical_json,
    row_hash,
)
from llmops_assets.data.specs import FilesSource
from llmops_assets.errors import LlmopsError

_TEXT_SUFFIXES = (".txt", ".md")
_RECORD_SUFFIX = ".jsonl"
_TITLE = re.compile(r"# +(\S[^\n]*)\n+(?=\S)")


class MissingSourceError(LlmopsError):
    """A source that a recipe names is not there."""


def find_files(source: FilesSource, base_dir: Path) -> list[Path]:
    """Return the files that the pattern names, sorted; raises MissingSourceError if there are none."""
    pattern = Path(source.pattern)
    root = Path(pattern.anchor) if pattern.anchor else base_dir
    try:
        files = sorted(path for path in root.glob(str(pattern.relative_to(pattern.anchor))) if path.is_file())
    except (ValueError, IndexError) as error:
        raise MissingSourceError(
            f"source '{source.name}': `pattern: {source.pattern}` is no glob pattern: {error}"
        ) from error
    if not files:
        raise MissingSourceError(
            f"source '{source.name}' of the recipe in {base_dir}: `pattern: {source.pattern}` matches no file. "
            "Put the file there, or mend the pattern (relative patterns start at the recipe's folder)"
        )
    return files


def hash_files(source: FilesSource, base_dir: Path) -> str:
    """Return the sha256 (hex) of the names and bytes of the source's files."""
    digest = hashlib.sha256()
    for path in find_files(source, base_dir):
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{shown_name(path, base_dir)}\0{content}\n".encode())
    return digest.hexdigest()


def shown_name(path: Path, base_dir: Path) -> str:
    """Return how reports call the file: relative to the recipe's folder where it lies below it."""
    return path.relative_to(base_dir).as_posix() if path.is_relative_to(base_dir) else path.as_posix()


def read_file_documents(source: FilesSource, base_dir: Path) -> Iterator[Document | QuarantinedRecord]:
    """Yield the documents of a corpus source; records are `{"text": ...}` with an optional `id` and `group`.

    The heading that opens a Markdown file is the title of its topic.
    """
    for path in find_files(source, base_dir):
        name = shown_name(path, base_dir)
        if path.suffix in _TEXT_SUFFIXES:
            yield _whole_file(path, name, source)
        elif path.suffix == _RECORD_SUFFIX:
            for entry in read_jsonl(path, source=source.name, origin_file=name):
                yield _document(entry, name, source) if isinstance(entry, JsonLine) else entry
        else:
            raise _unreadable(path, source, ".jsonl, .txt and .md")


def read_file_conversations(source: FilesSource, base_dir: Path) -> Iterator[Conversation | QuarantinedRecord]:
    """Yield the conversations of an SFT source, in the formats of `formats.py`, with an optional `id` and `group`."""
    for path in find_files(source, base_dir):
        if path.suffix != _RECORD_SUFFIX:
            raise _unreadable(path, source, ".jsonl")
        name = shown_name(path, base_dir)
        for entry in read_jsonl(path, source=source.name, origin_file=name):
            yield _conversation(entry, name, source) if isinstance(entry, JsonLine) else entry


def conversation_group(messages_key: str) -> str:
    """Return the group of a conversation that names none: all that open with the same question are one."""
    return "question/" + hashlib.sha256(comparison_key(messages_key).encode()).hexdigest()[:16]


def _whole_file(path: Path, name: str, source: FilesSource) -> Document | QuarantinedRecord:
    raw = path.read_bytes()
    try:
        text = normalize_text(raw.decode("utf-8")).strip("\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        detail = f"byte {error.start} is not UTF-8 ({error.reason})"
        return QuarantinedRecord(source.name, name, line, Reason.INVALID_UTF8, detail, excerpt(raw[:200]))
    if not text.strip():
        return QuarantinedRecord(source.name, name, 1, Reason.EMPTY, "the file holds no text", "")
    heading = _TITLE.match(text) if path.suffix == ".md" else None
    return Document(
        id=f"{source.name}/{name}",
        text=text,
        source=source.name,
        origin=f"{name}:1",
        group=f"file/{name}",
        license=source.license,
        body_start=heading.end() if heading else 0,
        metadata={"kind": "topic", "title": heading[1]} if heading else {},
    )


def _document(entry: JsonLine, name: str, source: FilesSource) -> Document | QuarantinedRecord:
    try:
        text = parse_text(entry.value)
        identity = optional_name(entry.value, "id") or f"{name}:{entry.line}"
        group = optional_name(entry.value, "group") or f"{source.name}/{identity}"
    except RecordError as error:
        return _rejected(error, entry, name, source)
    return Document(f"{source.name}/{identity}", text, source.name, f"{name}:{entry.line}", group, source.license)


def _conversation(entry: JsonLine, name: str, source: FilesSource) -> Conversation | QuarantinedRecord:
    try:
        messages = parse_conversation(entry.value)
        rows = [message.to_row() for message in messages]
        identity = optional_name(entry.value, "id") or row_hash(rows)[:16]
        question = next(message.content for message in messages if message.role == "user")
        group = optional_name(entry.value, "group") or conversation_group(question)
    except RecordError as error:
        return _rejected(error, entry, name, source)
    turns = sum(message.role == "assistant" for message in messages)
    origin = f"{name}:{entry.line}"
    return Conversation(f"{source.name}/{identity}", messages, source.name, origin, group, "dataset", (None,) * turns)


def _rejected(error: RecordError, entry: JsonLine, name: str, source: FilesSource) -> QuarantinedRecord:
    return QuarantinedRecord(
        source.name, name, entry.line, error.reason, str(error), excerpt(canonical_json(entry.value))
    )


def _unreadable(path: Path, source: FilesSource, readable: str) -> MissingSourceError:
    return MissingSourceError(
        f"source '{source.name}': `pattern: {source.pattern}` matches {path}, which is none of {readable}; "
        "narrow the pattern"
    )
