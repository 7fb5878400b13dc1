"""Content hashes of files, remembered, so that an unchanged file is not read again.

A file counts as unchanged while size, inode and both times (of content and of status) are the same, as git's index has
it. What was changed within the last two seconds is never remembered: the clock of a file system may be that coarse, and
a second change within one tick would not show.
"""

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from llmops_assets.settings import state_dir

_FILE = "content_hashes.sqlite"
_SCHEMA = "CREATE TABLE IF NOT EXISTS hashes (path TEXT PRIMARY KEY, state TEXT NOT NULL, sha256 TEXT NOT NULL)"
_BATCH = 500
SETTLED_SECONDS = 2.0


def file_hashes(paths: Iterable[Path]) -> Iterator[str]:
    """Yield the sha256 (hex) of the bytes of each file; one that has not changed since it was hashed is not read.

    The memory lies under the state folder and serves runs at the same time. Where it cannot be used, files are read.
    """
    with closing(_Memory(state_dir() / _FILE)) as memory:
        for path in paths:
            yield _file_hash(path, memory)


def _file_hash(path: Path, memory: "_Memory") -> str:
    # A name may come to mean another file, by a link say: the state tells files apart.
    # A name that is not UTF-8 is none that SQLite takes.
    name = str(path.absolute()).encode("utf-8", "backslashreplace").decode("utf-8")
    looked_at, before = time.time(), path.stat()
    if (remembered := memory.get(name, _state(before))) is not None:
        return remembered
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        after = os.fstat(stream.fileno())
    is_settled = looked_at - max(after.st_mtime, after.st_ctime) > SETTLED_SECONDS
    if is_settled and _state(before) == _state(after):
        memory.put(name, _state(after), digest)
    return digest


def _state(found: os.stat_result) -> str:
    times = (found.st_mtime_ns, found.st_ctime_ns)
    return " ".join(map(str, (found.st_size, *times, found.st_dev, found.st_ino)))


class _Memory:
    """Hashes by path and state, in SQLite; any trouble with it makes it forget, and stops nobody."""

    def __init__(self, file: Path) -> None:
        self._pending: list[tuple[str, str, str]] = []
        self._connection: sqlite3.Connection | None = None
        with suppress(OSError, sqlite3.Error):
            file.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(file, timeout=30)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(_SCHEMA)
            self._connection = connection

    def get(self, path: str, state: str) -> str | None:
        if self._connection is None:
            return None
        with suppress(sqlite3.Error):
            asked = "SELECT sha256 FROM hashes WHERE path = ? AND state = ?"
            row = self._connection.execute(asked, (path, state)).fetchone()
            return row[0] if row else None
        return None

    def put(self, path: str, state: str, sha256: str) -> None:
        self._pending.append((path, state, sha256))
        if len(self._pending) == _BATCH:
            self._write()

    def close(self) -> None:
        self._write()
        if self._connection is not None:
            self._connection.close()

    def _write(self) -> None:
        # In one short transaction: no lock is held while a large file is read.
        if self._connection is not None:
            with suppress(sqlite3.Error), self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?)", self._pending)
        self._pending.clear()
