"""Strict reading and atomic, reproducible writing of JSON Lines."""

import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from llmops_assets.data.records import QuarantinedRecord, Reason, RecordError
from llmops_assets.data.sources.text_encodings import decoded

LONGEST_LINE = 8 * 2**20
_EXCERPT = 160
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class JsonLine:
    """One object of a JSON Lines file with its 1-based line number."""

    line: int
    value: dict[str, Any]


def read_json_lines(
    stream: BinaryIO, *, source: str, origin_file: str, longest_line: int = LONGEST_LINE
) -> Iterator[JsonLine | QuarantinedRecord]:
    """Yield each line of `stream` as an object, or as a quarantine entry that names file, line and reason.

    Strict where `json.loads` is not: UTF-8 without replacement, no duplicate keys, no NaN or infinity, no lone
    surrogates, no line above `longest_line` bytes (which is never held in memory). A byte-order mark and blank lines
    are skipped. `origin_file` is how reports call the file.
    """
    for number, raw in raw_lines(stream, longest_line):
        if raw is not None and not raw.strip():
            continue
        try:
            if raw is None:
                raise RecordError(Reason.TOO_LARGE, f"the line has more than {longest_line} bytes")
            yield JsonLine(number, parse_json_object(raw))
        except RecordError as error:
            yield QuarantinedRecord(source, origin_file, number, error.reason, str(error), excerpt(raw or b""))


def parse_json_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in `raw`; raises RecordError with the reason when it is not one strict object."""
    value = parse_json(decoded(raw, "utf-8"))
    if not isinstance(value, dict):
        raise RecordError(Reason.NOT_AN_OBJECT, f"the line holds a {type(value).__name__}, not an object")
    return value


def parse_json(text: str) -> Any:
    """Return the JSON value in `text`; raises RecordError where it is none that `read_json_lines` lets pass."""
    try:
        value = json.loads(
            text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant, parse_float=_finite_float
        )
        if "\\u" in text or "\\U" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        raise RecordError(Reason.INVALID_JSON, f"{error.msg} at column {error.colno}") from error
    except UnicodeEncodeError as error:
        raise RecordError(Reason.INVALID_UNICODE, "an escape names half of a surrogate pair") from error
    except RecursionError as error:
        raise RecordError(Reason.INVALID_JSON, "nested too deeply") from error
    except RecordError:
        raise
    except ValueError as error:  # Python refuses to convert integers of thousands of digits
        raise RecordError(Reason.NOT_FINITE, str(error)) from error
    return value


def excerpt(raw: bytes | str) -> str:
    """Return the beginning of a rejected record, for a person to recognise it by."""
    text = raw.decode("utf-8", errors="backslashreplace") if isinstance(raw, bytes) else raw
    text = text.encode("utf-8", errors="backslashreplace").decode("utf-8").strip()
    return text if len(text) <= _EXCERPT else text[:_EXCERPT] + "…"


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write `rows` to `path` and return their number; the file appears whole or not at all.

    Keys keep their order and non-ASCII text its letters, so equal rows give equal bytes.
    """
    count = 0
    with _replacing(path) as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n")
            count += 1
    return count


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Write `lines`, each a row without its line break, to `path`; the file appears whole or not at all."""
    with _replacing(path) as stream:
        for line in lines:
            stream.write(line + b"\n")


def write_json(path: Path, value: object) -> None:
    """Write one indented JSON document to `path`; the file appears whole or not at all."""
    with _replacing(path) as stream:
        stream.write(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2).encode("utf-8") + b"\n")


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary stream onto a temporary file beside `path` that takes its place on a clean exit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, 0o644)
            yield stream
            stream.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def raw_lines(stream: BinaryIO, longest_line: int = LONGEST_LINE) -> Iterator[tuple[int, bytes | None]]:
    """Yield (line number, bytes), with None for a line that is too long; a byte-order mark is left out."""
    number = 0
    while raw := stream.readline(longest_line + 1):
        number += 1
        if number == 1:
            raw = raw.removeprefix(_BYTE_ORDER_MARK)
        if len(raw) > longest_line and not raw.endswith(b"\n"):
            while raw and not raw.endswith(b"\n"):
                raw = stream.readline(longest_line)
            yield number, None
        else:
            yield number, raw


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise RecordError(Reason.DUPLICATE_KEY, f"the key {repeated!r} stands more than once in one object")
    return value


def _refuse_constant(name: str) -> float:
    raise RecordError(Reason.NOT_FINITE, f"{name} is not JSON")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise RecordError(Reason.NOT_FINITE, f"{text} is out of range")
    return value
