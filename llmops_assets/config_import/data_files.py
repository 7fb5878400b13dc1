"""Writes what an import makes. A file that is there is never written to, whatever else happens."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def as_jsonl(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return `rows` as the bytes of a JSONL file."""
    return b"".join(_line(row) for row in rows)


def write_new(files: Mapping[Path, bytes]) -> None:
    """Write all of `files` or none.

    A file that is there already with the same bytes stays. Raises FileExistsError if one has other bytes.
    """
    written: list[Path] = []
    try:
        for file, content in files.items():
            if file.is_file() and file.read_bytes() == content:
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            # "x" refuses what has come to be there since the import looked.
            with file.open("xb") as stream:
                written.append(file)
                stream.write(content)
    except BaseException:
        for file in written:
            file.unlink()
        raise


def _line(row: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can escape and UTF-8 cannot hold
        return json.dumps(row).encode() + b"\n"
