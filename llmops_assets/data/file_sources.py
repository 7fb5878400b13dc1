"""Local files as sources of documents and of conversations."""

import hashlib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from llmops_assets.data.formats.conversations import parse_conversation
from llmops_assets.data.formats.preferences import Comparison, parse_comparisons
from llmops_assets.data.formats.texts import class_of, optional_name, parse_text
from llmops_assets.data.jsonl import JsonLine, excerpt
from llmops_assets.data.normalize import comparison_key
from llmops_assets.data.record_files import COMPRESSIONS, RECORD_SUFFIXES, kind_of, read_records
from llmops_assets.data.records import (
    Conversation,
    Document,
    Message,
    QuarantinedRecord,
    RecordError,
    canonical_json,
    row_hash,
)
from llmops_assets.data.remote_files import RemoteFileError, fetch, is_url, without_secrets
from llmops_assets.data.specs import ConversationFilesSource, FilesSource, PreferenceFilesSource, TextFilesSource
from llmops_assets.data.text_files import TEXT_KINDS, TEXT_SUFFIXES, read_text_file
from llmops_assets.errors import LlmopsError


class MissingSourceError(LlmopsError):
    """A source that a recipe names is not there."""


def find_files(source: FilesSource, base_dir: Path) -> list[tuple[Path, str]]:
    """Return the files that the pattern names, sorted, with how reports call them.

    That is relative to the recipe's folder for a file below it, and the URL for a file behind one, which is fetched
    when it has changed. What begins with a dot is not read unless the pattern names it.

    Raises MissingSourceError if there are none.
    """
    shown = without_secrets(source.pattern)
    try:
        files = fetch(source.pattern) if is_url(source.pattern) else _local_files(Path(source.pattern), base_dir)
    except RemoteFileError as error:
        raise MissingSourceError(f"source '{source.name}': `pattern: {shown}` cannot be read: {error}") from error
    except (ValueError, IndexError) as error:
        kind = "URL" if is_url(source.pattern) else "glob pattern"
        raise MissingSourceError(f"source '{source.name}': `pattern: {shown}` is no {kind}: {error}") from error
    if not files:
        advice = "Put the file there, or mend the pattern (relative patterns start at the recipe's folder)"
        if is_url(source.pattern):
            advice = "Mend the address, or see whether its server answers and lets you in"
        raise MissingSourceError(
            f"source '{source.name}' of the recipe in {base_dir}: `pattern: {shown}` matches no file. {advice}"
        )
    return files


def _local_files(pattern: Path, base_dir: Path) -> list[tuple[Path, str]]:
    root = Path(pattern.anchor) if pattern.anchor else base_dir
    below = pattern.relative_to(pattern.anchor)
    paths = sorted(p for p in root.glob(str(below)) if p.is_file() and not _is_hidden(p.relative_to(root), below))
    return [(p, p.relative_to(base_dir).as_posix() if p.is_relative_to(base_dir) else p.as_posix()) for p in paths]


def _is_hidden(path: Path, pattern: Path) -> bool:
    """Return whether a file, or a folder above it, begins with a dot that the pattern does not name, such as .git."""
    named = [part for part in pattern.parts if part.startswith(".")]
    hidden = (part for part in path.parts if part.startswith(".") and part != "..")
    return any(not any(fnmatchcase(part, name) for name in named) for part in hidden)


def hash_files(source: FilesSource, base_dir: Path) -> str:
    """Return the sha256 (hex) of the names and bytes of the source's files."""
    digest = hashlib.sha256()
    for path, name in find_files(source, base_dir):
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()


def read_file_documents(source: TextFilesSource, base_dir: Path) -> Iterator[Document | QuarantinedRecord]:
    """Yield the documents of a corpus source; records are `{"text": ...}` with an optional `id` and `group`.

    The heading that opens a Markdown file is the title of its topic.

    Raises MissingSourceError for a file of another kind, and UnreadableFileError for a broken one.
    """
    for path, name in find_files(source, base_dir):
        yield from read_documents_of(path, name, source)


def read_documents_of(path: Path, name: str, source: TextFilesSource) -> Iterator[Document | QuarantinedRecord]:
    """Yield the documents of one file of a corpus source; `name` is how reports call it. Raises as the whole does."""
    if kind_of(path) in TEXT_SUFFIXES:
        yield from read_text_file(path, name, source)
    else:
        for entry in records_of(path, name, source, also=TEXT_KINDS):
            yield _document(entry, name, source) if isinstance(entry, JsonLine) else entry


def read_file_conversations(
    source: ConversationFilesSource, base_dir: Path
) -> Iterator[Conversation | QuarantinedRecord]:
    """Yield the conversations of an SFT source, with an optional `id` and `group`.

    Raises MissingSourceError for a file of another kind, and UnreadableFileError for a broken one.
    """
    for path, name in find_files(source, base_dir):
        for entry in records_of(path, name, source):
            yield _conversation(entry, name, source) if isinstance(entry, JsonLine) else entry


def records_of(
    path: Path, name: str, source: FilesSource, *, also: tuple[str, ...] = ()
) -> Iterator[JsonLine | QuarantinedRecord]:
    """Return the records of one file of a source; `name` is how reports call it.

    Raises MissingSourceError for a file that holds no records; `also` are other kinds that the source may have.
    """
    if kind_of(path) not in RECORD_SUFFIXES:
        raise MissingSourceError(
            f"source '{source.name}': `pattern: {source.pattern}` matches {path}, which is none of "
            f"{', '.join((*RECORD_SUFFIXES, *also))} (or one of them packed: {', '.join(COMPRESSIONS)}); "
            "narrow the pattern"
        )
    return read_records(path, source=source.name, origin_file=name)


def read_file_comparisons(
    source: PreferenceFilesSource, base_dir: Path
) -> Iterator[tuple[str, Comparison] | QuarantinedRecord]:
    """Yield (origin, preference) of the records of a preference source.

    Raises MissingSourceError for a file of another kind, and UnreadableFileError for a broken one.
    """
    for path, name in find_files(source, base_dir):
        for entry in records_of(path, name, source):
            if isinstance(entry, QuarantinedRecord):
                yield entry
                continue
            try:
                comparisons = parse_comparisons(entry.value, source.format)
            except RecordError as error:
                yield _rejected(error, entry, name, source)
                continue
            yield from ((f"{name}:{entry.line}", comparison) for comparison in comparisons)


def conversation_of(
    messages: tuple[Message, ...],
    layout: str,
    source: str,
    origin: str,
    *,
    identity: str | None = None,
    group: str | None = None,
    class_name: str | None = None,
) -> Conversation:
    """Return a conversation of a data set. All that open with the same question are one group, if none is named."""
    question = next(message.content for message in messages if message.role == "user")
    return Conversation(
        id=f"{source}/{identity or row_hash([message.to_row() for message in messages])[:16]}",
        messages=messages,
        source=source,
        origin=origin,
        group=group or "question/" + hashlib.sha256(comparison_key(question).encode()).hexdigest()[:16],
        generator="dataset",
        spans=(None,) * sum(message.role == "assistant" for message in messages),
        layout=layout,
        class_name=class_name,
    )


def _document(entry: JsonLine, name: str, source: FilesSource) -> Document | QuarantinedRecord:
    try:
        text = parse_text(entry.value)
        identity = optional_name(entry.value, "id") or f"{name}:{entry.line}"
        group = optional_name(entry.value, "group") or f"{source.name}/{identity}"
    except RecordError as error:
        return _rejected(error, entry, name, source)
    return Document(f"{source.name}/{identity}", text, source.name, f"{name}:{entry.line}", group, source.license)


def _conversation(entry: JsonLine, name: str, source: ConversationFilesSource) -> Conversation | QuarantinedRecord:
    try:
        layout, messages = parse_conversation(entry.value, source.format)
        identity, group = optional_name(entry.value, "id"), optional_name(entry.value, "group")
        class_name = class_of(entry.value, source.class_key)
    except RecordError as error:
        return _rejected(error, entry, name, source)
    origin = f"{name}:{entry.line}"
    return conversation_of(messages, layout, source.name, origin, identity=identity, group=group, class_name=class_name)


def _rejected(error: RecordError, entry: JsonLine, name: str, source: FilesSource) -> QuarantinedRecord:
    return QuarantinedRecord(
        source.name, name, entry.line, error.reason, str(error), excerpt(canonical_json(entry.value))
    )
