"""Files of records: JSON Lines, JSON lists and Parquet, plain or compressed, read as objects with their place."""

import datetime
import decimal
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from llmops_assets.data.jsonl import JsonLine, excerpt, parse_json_object, read_json_lines
from llmops_assets.data.records import QuarantinedRecord, Reason, RecordError
from llmops_assets.errors import LlmopsError

COMPRESSIONS = (".gz", ".zst")
RECORD_SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet")
_WHITESPACE = " \t\r\n"


class UnreadableFileError(LlmopsError):
    """A file is broken in a way that leaves the place of its further records unknown."""


def kind_of(path: Path) -> str:
    """Return the suffix that tells what a file holds, in lower case; of a packed one, that before `.gz`, `.zst`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if len(suffixes) > 1 and suffixes[-1] in COMPRESSIONS:
        return suffixes[-2]
    return suffixes[-1] if suffixes else ""


def read_records(path: Path, *, source: str, origin_file: str) -> Iterator[JsonLine | QuarantinedRecord]:
    """Yield each record of a file of `RECORD_SUFFIXES` as an object, or as a quarantine entry that names the reason.

    `line` is the line that the record begins in, for Parquet its row; both count from 1. A `.json` file is a list of
    objects, or objects one after the other, on one line each or on many. It is read into memory; the others are not.

    Raises UnreadableFileError, naming file and line, if the file breaks off or its list is no JSON.
    """
    if kind_of(path) == ".parquet":
        yield from _parquet_rows(path, source, origin_file)
        return
    with readable(path), open_binary(path) as stream:
        if kind_of(path) == ".json":
            yield from _json_records(stream.read(), path, source, origin_file)
        else:
            yield from read_json_lines(stream, source=source, origin_file=origin_file)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise UnreadableFileError where reading `path` in the block fails: it is cut off, or not packed as it says."""
    try:
        yield
    except (EOFError, OSError, zlib.error) as error:
        raise UnreadableFileError(f"{path}: cannot be read to its end ({error}); replace the file") from error


@contextmanager
def open_binary(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading; one that ends in `.gz` or `.zst` is unpacked on the way."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        with gzip.open(path) as stream:
            yield stream  # pyright: ignore[reportReturnType]  (a GzipFile reads as a BinaryIO does)
    elif suffix == ".zst":
        import pyarrow

        with pyarrow.input_stream(str(path), compression="zstd") as stream:
            yield io.BufferedReader(stream)  # pyright: ignore[reportArgumentType]
    else:
        with path.open("rb") as stream:
            yield stream


def _parquet_rows(path: Path, source: str, origin_file: str) -> Iterator[JsonLine | QuarantinedRecord]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path) as file:
            repeated = [name for name, count in Counter(file.schema_arrow.names).items() if count > 1]
            if repeated:
                raise UnreadableFileError(f"{path}: several columns have the name {repeated[0]!r}; rename or drop one")
            for batch in file.iter_batches(batch_size=256):
                for row in range(batch.num_rows):
                    number += 1
                    yield _parquet_row(batch, row, number, source, origin_file)
    except (pyarrow.ArrowException, OSError, ValueError) as error:  # the last for names that are not UTF-8
        raise UnreadableFileError(f"{path}: is no Parquet file that can be read ({error}); replace the file") from error


def _parquet_row(batch: Any, row: int, number: int, source: str, origin_file: str) -> JsonLine | QuarantinedRecord:
    """Return a row; dates, times and decimal numbers are texts in it, other values that JSON lacks are refused."""
    values: dict[str, Any] = {}
    for name in batch.schema.names:
        try:
            value = batch.column(name)[row].as_py()
            values[name] = json.loads(json.dumps(value, default=json_text_of))
        except (TypeError, ValueError, OverflowError) as error:
            detail = f"column {name!r}: {error}; leave it out of the file, or write it as text"
            return QuarantinedRecord(source, origin_file, number, Reason.WRONG_TYPE, detail, "")
    try:
        return JsonLine(number, parse_json_object(json.dumps(values, ensure_ascii=False).encode()))
    except (UnicodeEncodeError, RecordError) as error:
        reason = error.reason if isinstance(error, RecordError) else Reason.INVALID_UNICODE
        return QuarantinedRecord(source, origin_file, number, reason, str(error), excerpt(repr(values)))


def json_text_of(value: object) -> str:
    """Return dates, times and decimal numbers as text; raises TypeError for what JSON lacks."""
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta | decimal.Decimal):
        return str(value)
    raise TypeError(f"holds {type(value).__name__}, which JSON lacks")


def _json_records(raw: bytes, path: Path, source: str, origin_file: str) -> Iterator[JsonLine | QuarantinedRecord]:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UnreadableFileError(f"{path}:{line}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    for line, record in _elements(text, path):
        try:
            yield JsonLine(line, parse_json_object(record.encode()))
        except RecordError as error:
            yield QuarantinedRecord(source, origin_file, line, error.reason, str(error), excerpt(record))


def _elements(text: str, path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of the elements of a list, or of values one after the other."""
    # Finds where a value ends, whatever it says; what it says is judged record by record.
    decoder = json.JSONDecoder(parse_int=str, parse_float=str)
    position, line = _skipped(text, 0, 1, _WHITESPACE)
    in_list = text[position : position + 1] == "["
    if in_list:
        position, line = _skipped(text, position + 1, line, _WHITESPACE)
    while position < len(text) and not (in_list and text[position] == "]"):
        try:
            _, end = decoder.raw_decode(text, position)
        except (json.JSONDecodeError, RecursionError) as error:
            raise _no_json(path, text, position, error) from error
        yield line, text[position:end]
        line += text.count("\n", position, end)
        position, line = _skipped(text, end, line, _WHITESPACE)
        if in_list and text[position : position + 1] == ",":
            position, line = _skipped(text, position + 1, line, _WHITESPACE)
            if text[position : position + 1] == "]":
                raise UnreadableFileError(f"{path}:{line}: the list ends with a comma; remove it")
        elif in_list and text[position : position + 1] != "]":
            raise UnreadableFileError(f"{path}:{line}: the list breaks off or lacks a comma here; mend the file")
    rest, line = _skipped(text, position + 1, line, _WHITESPACE) if in_list else (len(text), line)
    if rest < len(text):
        raise UnreadableFileError(f"{path}:{line}: something follows the list; a .json file holds one list")
    if in_list and position >= len(text):
        raise UnreadableFileError(f"{path}:{line}: the list has no end; replace the file")


def _skipped(text: str, position: int, line: int, skipped: str) -> tuple[int, int]:
    """Return position and line of the next character that is none of `skipped`."""
    start = position
    while position < len(text) and text[position] in skipped:
        position += 1
    return position, line + text.count("\n", start, position)


def _no_json(path: Path, text: str, position: int, error: Exception) -> UnreadableFileError:
    if not isinstance(error, json.JSONDecodeError):
        line = text.count("\n", 0, position) + 1
        return UnreadableFileError(f"{path}:{line}: nested too deeply; leave that record out")
    return UnreadableFileError(f"{path}:{error.lineno}: is no JSON: {error.msg} (column {error.colno}); mend that line")
