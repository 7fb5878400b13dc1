"""Files that are text themselves and hold no records: plain text, Markdown, web pages, code."""

import re
from collections.abc import Iterator
from pathlib import Path

from llmops_assets.data.jsonl import excerpt
from llmops_assets.data.normalize import normalize_text
from llmops_assets.data.record_files import kind_of, open_binary, readable
from llmops_assets.data.records import Document, QuarantinedRecord, Reason
from llmops_assets.data.specs import TextFilesSource

TEXT_SUFFIXES = (".txt", ".md")
# A line with text in it; and lines that follow each other without an empty one between them.
_PARTS = {
    "line": re.compile(r"^[^\n]*\S[^\n]*$", re.MULTILINE),
    "paragraph": re.compile(r"(?:^[^\n]*\S[^\n]*(?:\n|\Z))+", re.MULTILINE),
}
_TITLE = re.compile(r"# +(\S[^\n]*)\n+(?=\S)")


def read_text_file(path: Path, name: str, source: TextFilesSource) -> Iterator[Document | QuarantinedRecord]:
    """Yield the documents of a file of `TEXT_SUFFIXES`; `name` is how reports call it.

    Raises UnreadableFileError for one that breaks off.
    """
    with readable(path), open_binary(path) as stream:
        raw = stream.read()
    try:
        text = normalize_text(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        detail = f"byte {error.start} is not UTF-8 ({error.reason})"
        yield QuarantinedRecord(source.name, name, line, Reason.INVALID_UTF8, detail, excerpt(raw[:200]))
        return
    if not text.strip():
        yield QuarantinedRecord(source.name, name, 1, Reason.EMPTY, "the file holds no text", "")
    elif source.documents == "file":
        yield _whole_file(text.strip("\n"), path, name, source)
    else:
        yield from _parts(text, name, source)


def _whole_file(text: str, path: Path, name: str, source: TextFilesSource) -> Document:
    heading = _TITLE.match(text) if kind_of(path) == ".md" else None
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


def _parts(text: str, name: str, source: TextFilesSource) -> Iterator[Document]:
    """Yield the lines or the paragraphs of a file as documents, each a group of its own."""
    line, counted = 1, 0
    for match in _PARTS[source.documents].finditer(text):
        line += text.count("\n", counted, match.start())
        counted = match.start()
        identity = f"{source.name}/{name}:{line}"
        yield Document(identity, match[0].strip("\n"), source.name, f"{name}:{line}", identity, source.license)
