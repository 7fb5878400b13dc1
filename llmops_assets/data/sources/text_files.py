"""Files that are text themselves and hold no records: plain text, Markdown, web pages, code."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from llmops_assets.data.jsonl import excerpt
from llmops_assets.data.normalize import normalize_text
from llmops_assets.data.records import Document, QuarantinedRecord, Reason, RecordError
from llmops_assets.data.sources.code_files import LANGUAGES, LARGEST_FILE, read_code
from llmops_assets.data.sources.record_files import kind_of, open_binary, readable
from llmops_assets.data.sources.specs import TextFilesSource
from llmops_assets.data.sources.text_encodings import decoded
from llmops_assets.data.sources.text_parts import read_text_parts
from llmops_assets.data.sources.web_pages import LARGEST_PAGE, OPENING_HEADING, read_page

_PAGE_SUFFIXES = (".html", ".htm", ".xhtml")
PLAIN_SUFFIXES = (".txt", ".md")
TEXT_SUFFIXES = (*PLAIN_SUFFIXES, *_PAGE_SUFFIXES, *LANGUAGES)
TEXT_KINDS = (".txt", ".md", ".html", "a suffix of code such as .py")


def read_text_file(path: Path, name: str, source: TextFilesSource) -> Iterator[Document | QuarantinedRecord]:
    """Yield the documents of a file of `TEXT_SUFFIXES`; `name` is how reports call it.

    A file of plain text or Markdown may be several documents, of which one at a time is in memory; a web page and a
    file of code are one each, and no more is read of them than they may have. Raises UnreadableFileError for one that
    breaks off, and MissingReaderError.
    """
    kind = kind_of(path)
    if source.documents != "file" and kind in PLAIN_SUFFIXES:
        yield from read_text_parts(path, name, source)
        return
    largest = LARGEST_PAGE if kind in _PAGE_SUFFIXES else LARGEST_FILE
    with readable(path), open_binary(path) as stream:
        raw = stream.read() if kind in PLAIN_SUFFIXES else stream.read(largest + 1)
    try:
        if kind in _PAGE_SUFFIXES:
            yield _page(raw, name, source)
        elif kind in LANGUAGES:
            yield _code(raw, name, kind, source)
        else:
            yield _text(raw, path, name, source)
    except RecordError as error:
        cause = error.__cause__
        line = raw.count(b"\n", 0, cause.start) + 1 if isinstance(cause, UnicodeDecodeError) else 1
        yield QuarantinedRecord(source.name, name, line, error.reason, str(error), excerpt(raw[:1000]))


def _text(raw: bytes, path: Path, name: str, source: TextFilesSource) -> Document:
    text = normalize_text(decoded(raw, "utf-8"))
    if not text.strip():
        raise RecordError(Reason.EMPTY, "the file holds no text")
    heading = OPENING_HEADING.match(text.strip("\n")) if kind_of(path) == ".md" else None
    body_start = heading.end() if heading else 0
    return _whole_file(text.strip("\n"), name, source, body_start, _topic(heading[1]) if heading else {})


def _page(raw: bytes, name: str, source: TextFilesSource) -> Document:
    text, body_start = read_page(raw)
    title = text[:body_start].strip().removeprefix("#").strip()
    return _whole_file(text, name, source, body_start, _topic(title) if title else {})


def _code(raw: bytes, name: str, suffix: str, source: TextFilesSource) -> Document:
    text = read_code(raw, name, suffix)
    return _whole_file(text, name, source, 0, {"kind": "code", "language": LANGUAGES[suffix], "path": name})


def _topic(title: str) -> dict[str, str]:
    return {"kind": "topic", "title": title}


def _whole_file(
    text: str, name: str, source: TextFilesSource, body_start: int, metadata: Mapping[str, str]
) -> Document:
    return Document(
        id=f"{source.name}/{name}",
        text=text,
        source=source.name,
        origin=f"{name}:1",
        group=f"file/{name}",
        license=source.license,
        body_start=body_start,
        metadata=metadata,
    )
