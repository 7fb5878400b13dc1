"""Lines and paragraphs of a text file as documents, read one after the other."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from llmops_assets.data.jsonl import LONGEST_LINE, excerpt, raw_lines
from llmops_assets.data.normalize import normalize_text
from llmops_assets.data.record_files import open_binary, readable
from llmops_assets.data.records import Document, QuarantinedRecord, Reason, RecordError
from llmops_assets.data.source_specs import TextFilesSource


def read_text_parts(path: Path, name: str, source: TextFilesSource) -> Iterator[Document | QuarantinedRecord]:
    """Yield the lines with text, or what stands between empty lines, each a document and a group of its own.

    One that holds a byte that is not UTF-8, or has more than 8 MiB, is quarantined, and the others are read. Raises
    UnreadableFileError for a file that breaks off.
    """
    is_empty = True
    with readable(path), open_binary(path) as stream:
        for part in _parts(_lines(raw_lines(stream)), by_line=source.documents == "line"):
            is_empty = False
            text, origin = "\n".join(part.lines), f"{name}:{part.line}"
            if part.problem:
                reason, detail = part.problem.reason, str(part.problem)
                yield QuarantinedRecord(source.name, name, part.line, reason, detail, excerpt(text))
            else:
                identity = f"{source.name}/{origin}"
                yield Document(identity, text, source.name, origin, identity, source.license)
    if is_empty:
        yield QuarantinedRecord(source.name, name, 1, Reason.EMPTY, "the file holds no text", "")


# Number, text, and what is wrong with it.
_Line = tuple[int, str, RecordError | None]


@dataclass
class _Part:
    """Lines that are one document; `line` is the number of the first, or of the one with a problem."""

    line: int
    lines: list[str] = field(default_factory=list)
    size: int = 0
    problem: RecordError | None = None

    def add(self, line: _Line) -> None:
        number, text, problem = line
        self.size += len(text.encode("utf-8")) + 1
        if self.problem is None and problem is not None:
            self.line, self.lines, self.problem = number, [text], problem
        elif self.problem is None and self.size > LONGEST_LINE + 1:
            self.lines = self.lines[:1] or [text]
            self.problem = RecordError(Reason.TOO_LARGE, f"it has more than {LONGEST_LINE} bytes")
        elif self.problem is None:
            self.lines.append(text)


def _parts(lines: Iterable[_Line], *, by_line: bool) -> Iterator[_Part]:
    part: _Part | None = None
    for line in lines:
        number, text, problem = line
        is_blank = problem is None and not text.strip()
        if part is not None and (by_line or is_blank):
            yield part
            part = None
        if not is_blank:
            part = part or _Part(number)
            part.add(line)
    if part is not None:
        yield part


def _lines(read: Iterable[tuple[int, bytes | None]]) -> Iterator[_Line]:
    """Yield the lines of a text when it is normalized, where form feeds and the like end a line too."""
    number = 1
    for _, raw in read:
        if raw is None:
            yield number, "", RecordError(Reason.TOO_LARGE, f"the line has more than {LONGEST_LINE} bytes")
            number += 1
            continue
        problem = None
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            problem = RecordError(Reason.INVALID_UTF8, f"byte {error.start} of the line is not UTF-8 ({error.reason})")
            text = raw.decode("utf-8", "backslashreplace")
        for line in normalize_text(text).removesuffix("\n").split("\n"):
            # Beside a broken byte it is not known what else is none of the text.
            yield number, line, problem if line.strip() else None
            number += 1
