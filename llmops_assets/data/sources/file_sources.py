"""Files, local ones and those behind a URL, as sources of documents, conversations and preference pairs."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from llmops_assets.data.formats.conversations import parse_conversation
from llmops_assets.data.formats.preferences import Comparison, parse_comparisons
from llmops_assets.data.formats.texts import class_of, optional_name, parse_text
from llmops_assets.data.jsonl import JsonLine
from llmops_assets.data.normalize import comparison_key
from llmops_assets.data.quarantine import unreadable
from llmops_assets.data.records import (
    Conversation,
    Document,
    Message,
    QuarantinedRecord,
    RecordError,
    row_hash,
)
from llmops_assets.data.sources.content_hashes import file_hashes
from llmops_assets.data.sources.lakefs_files import at_commit, fetch_lakefs, is_lakefs
from llmops_assets.data.sources.parsing import PlacedRow, parsed
from llmops_assets.data.sources.record_files import COMPRESSIONS, RECORD_SUFFIXES, kind_of, read_records
from llmops_assets.data.sources.remote_files import (
    FoundFile,
    RemoteFileError,
    fetch,
    is_hidden,
    is_url,
    without_secrets,
)
from llmops_assets.data.sources.source_facts import SourceFacts
from llmops_assets.data.sources.specs import (
    ConversationFilesSource,
    FilesSource,
    PreferenceFilesSource,
    TextFilesSource,
)
from llmops_assets.data.sources.text_files import TEXT_KINDS, TEXT_SUFFIXES, read_text_file
from llmops_assets.errors import LlmopsError

AnyFiles = TypeVar("AnyFiles", bound=FilesSource)


class MissingSourceError(LlmopsError):
    """A source that a recipe names is not there."""


def find_files(source: FilesSource, base_dir: Path) -> list[tuple[Path, str]]:
    """Return the files that the pattern names, sorted, with how reports call them.

    That is relative to the recipe's folder for a file below it, and the URL for a file behind one, which is fetched
    when it has changed. What begins with a dot is not read unless the pattern names it.

    Raises MissingSourceError if there are none.
    """
    return [(file.path, file.name) for file in _found(source, base_dir)]


def pinned_files(source: AnyFiles) -> AnyFiles:
    """Return `source` with the branch or tag of a LakeFS pattern replaced by its commit; others as they are.

    Raises MissingSourceError.
    """
    if not is_lakefs(source.pattern):
        return source
    with _readable(source):
        return source.model_copy(update={"pattern": at_commit(source.pattern)})


def file_facts(source: FilesSource, base_dir: Path) -> SourceFacts:
    """Return what is known about the source's files; the content hash is that of their names and bytes.

    The revision is the commit of LakeFS, or the ETag of a single file. Raises MissingSourceError.
    """
    files = _found(source, base_dir)
    digest = hashlib.sha256()
    for file, content in zip(files, file_hashes(file.path for file in files), strict=True):
        digest.update(f"{file.name}\0{content}\n".encode())
    revisions = {file.revision for file in files}
    return SourceFacts(
        source=source.name,
        kind=source.kind,
        license=source.license,
        revision=revisions.pop() if len(revisions) == 1 else None,
        content_hash=digest.hexdigest(),
        files=len(files),
        bytes=sum(file.path.stat().st_size for file in files),
    )


def _found(source: FilesSource, base_dir: Path) -> list[FoundFile]:
    with _readable(source):
        files = _matching(source.pattern, base_dir)
    if not files:
        advice = "Put the file there, or mend the pattern (relative patterns start at the recipe's folder)"
        if is_lakefs(source.pattern):
            advice = "Mend the path; what is staged on a branch is read once it is committed"
        elif is_url(source.pattern):
            advice = "Mend the address, or see whether its server answers and lets you in"
        raise MissingSourceError(
            f"source '{source.name}' of the recipe in {base_dir}: `pattern: {without_secrets(source.pattern)}` "
            f"matches no file. {advice}"
        )
    for file in files:
        if not _is_utf8(file.name):
            raise MissingSourceError(
                f"source '{source.name}': `pattern: {without_secrets(source.pattern)}` matches {file.name!r}, whose "
                "name is not UTF-8; rename the file, or its folder"
            )
    return files


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def _readable(source: FilesSource) -> Iterator[None]:
    shown = without_secrets(source.pattern)
    try:
        yield
    except RemoteFileError as error:
        raise MissingSourceError(f"source '{source.name}': `pattern: {shown}` cannot be read: {error}") from error
    except (ValueError, IndexError) as error:
        kind = "URL" if is_url(source.pattern) else "glob pattern"
        raise MissingSourceError(f"source '{source.name}': `pattern: {shown}` is no {kind}: {error}") from error


def _matching(pattern: str, base_dir: Path) -> list[FoundFile]:
    if is_lakefs(pattern):
        return fetch_lakefs(pattern)
    return fetch(pattern) if is_url(pattern) else _local_files(Path(pattern), base_dir)


def _local_files(pattern: Path, base_dir: Path) -> list[FoundFile]:
    root = Path(pattern.anchor) if pattern.anchor else base_dir
    below = pattern.relative_to(pattern.anchor)
    found = (path for path in root.glob(str(below)) if path.is_file())
    paths = sorted(path for path in found if not is_hidden(path.relative_to(root).as_posix(), below.as_posix()))
    shown = (path.relative_to(base_dir) if path.is_relative_to(base_dir) else path for path in paths)
    return [FoundFile(path, name.as_posix()) for path, name in zip(paths, shown, strict=True)]


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

    def parse(value: Mapping[str, Any], origin: str) -> list[Conversation]:
        layout, messages = parse_conversation(value, source.format)
        identity, group = optional_name(value, "id"), optional_name(value, "group")
        named = {"identity": identity, "group": group, "class_name": class_of(value, source.class_key)}
        return [conversation_of(messages, layout, source.name, origin, **named)]

    return parsed(source.name, file_entries(source, base_dir), parse)


def file_entries(source: FilesSource, base_dir: Path) -> Iterator[PlacedRow]:
    """Yield the records of all files of a source with the name of their file.

    Raises MissingSourceError for a file that holds no records, and UnreadableFileError for a broken one.
    """
    for path, name in find_files(source, base_dir):
        for entry in records_of(path, name, source):
            yield entry if isinstance(entry, QuarantinedRecord) else (name, entry)


def records_of(
    path: Path, name: str, source: FilesSource, *, also: tuple[str, ...] = ()
) -> Iterator[JsonLine | QuarantinedRecord]:
    """Return the records of one file of a source; `name` is how reports call it.

    Raises MissingSourceError for a file that holds no records; `also` are other kinds that the source may have.
    """
    if kind_of(path) not in RECORD_SUFFIXES:
        raise MissingSourceError(
            f"source '{source.name}': `pattern: {without_secrets(source.pattern)}` matches {path}, which is none of "
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

    def parse(value: Mapping[str, Any], origin: str) -> list[tuple[str, Comparison]]:
        return [(origin, comparison) for comparison in parse_comparisons(value, source.format)]

    return parsed(source.name, file_entries(source, base_dir), parse)


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
        return unreadable(source.name, name, entry, error)
    return Document(f"{source.name}/{identity}", text, source.name, f"{name}:{entry.line}", group, source.license)
