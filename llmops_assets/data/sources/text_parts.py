"""Lines and paragraphs of a text file as documents, read one after the other."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from llmops_assets.data.jsonl import LONGEST_LINE, excerpt, raw_lines
from llmops_assets.data.normalize import normalize_text
from llmops_assets.data.records import Document, QuarantinedRecord, Reason, RecordError
from llmops_assets.data.sources.record_files import open_binary, readable
from llmops_assets.data.sources.specs import TextFilesSource
from llmops_assets.data.sources.text_encodings import decoded


def read_text_parts(path: Path, name: str, source: TextFilesSource) -> Iterator[Document | QuarantinedRecord]:
    """Yield the lines with text, or what stands between empty lines, each a document and a group of its own.

    One that holds a byte that is not UTF-8, or has more than 8 MiB, is quarantined, and the others are read. Raises
    UnreadableFileError for a file that breaks off.
    """
    is_empty = True
    with readable(path), open_binary(path) as stream:
        for part in _parts(_lines(raw_lines(stream)), by_line=source.documents == "line"):
            is_empty = False
            text = "\n".join(part.lines)
            if part.problem:
                reason, detail = part.problem.reason, str(part.problem)
                yield QuarantinedRecord(source.name, name, part.line, reason, detail, excerpt(text))
            else:
                # Several parts may be of one line of the file, so that their own number keeps them apart.
                identity = f"{source.name}/{name}:{part.number}"
                yield Document(identity, text, source.name, f"{name}:{part.line}", identity, source.license)
    if is_empty:
        yield QuarantinedRecord(source.name, name, 1, Reason.EMPTY, "the file holds no text", "")


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a text when it is normalized, where form feeds and the like end a line too: `number` counts these.

    `line` is the number of the line of the file that it is from, as reports have it.
    """

    number: int
    line: int
    text: str
    problem: RecordError | None = None


@dataclass
class _Part:
    """Lines that are one document; `number` is that of the first, `line` too, or of the one with a problem."""

    number: int
    line: int
    lines: list[str] = field(default_factory=list)
    size: int = 0
    problem: RecordError | None = None

    def add(self, line: _Line) -> None:
        self.size += len(line.text.encode("utf-8")) + 1
        if self.problem is None and line.problem is not None:
            self.line, self.lines, self.problem = line.line, [line.text], line.problem
        elif self.problem is None and self.size > LONGEST_LINE + 1:
            self.lines = self.lines[:1] or [line.text]
            self.problem = RecordError(Reason.TOO_LARGE, f"it has more than {LONGEST_LINE} bytes")
        elif self.problem is None:
            self.lines.append(line.text)


def _parts(lines: Iterable[_Line], *, by_line: bool) -> Iterator[_Part]:
    part: _Part | None = None
    for line in lines:
        is_blank = line.problem is None and not line.text.strip()
        if part is not None and (by_line or is_blank):
            yield part
            part = None
        if not is_blank:
            part = part or _Part(line.number, line.line)
            part.add(line)
    if part is not None:
        yield part


def _lines(read: Iterable[tuple[int, bytes | None]]) -> Iterator[_Line]:
    number = 1
    for place, raw in read:
        if raw is None:
            problem = RecordError(Reason.TOO_LARGE, f"the line has more than {LONGEST_LINE} bytes")
            yield _Line(number, place, "", problem)
            number += 1
            continue
        problem = None
        try:
            text = decoded(raw, "utf-8")
        except RecordError as error:
            problem = error
            text = raw.decode("utf-8", "backslashreplace")
        for line in normalize_text(text).removesuffix("\n").split("\n"):
            # Beside a broken byte it is not known what else is none of the text.
            yield _Line(number, place, line, problem if line.strip() else None)
            number += 1
