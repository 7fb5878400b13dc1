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
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from llmops_assets.settings import state_dir

_FILE = "content_hashes.sqlite"
SETTLED_SECONDS = 2.0
_SCHEMA = "CREATE TABLE IF NOT EXISTS hashes (path TEXT PRIMARY KEY, state TEXT NOT NULL, sha256 TEXT NOT NULL)"


def file_hashes(paths: Iterable[Path]) -> Iterator[str]:
    """Yield the sha256 (hex) of the bytes of each file; one that has not changed since it was hashed is not read.

    The memory lies under the state folder and serves runs at the same time. Where it cannot be used, files are read.
    """
    with _memory() as memory:
        for path in paths:
            yield _file_hash(path, memory)


@contextmanager
def _memory() -> Iterator[sqlite3.Connection | None]:
    file = state_dir() / _FILE
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Each statement is a transaction of its own: no lock is held while a large file is read.
        connection = sqlite3.connect(file, timeout=30, isolation_level=None)
    except (OSError, sqlite3.Error):
        yield None
        return
    with closing(connection):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(_SCHEMA)
        except sqlite3.Error:
            yield None
        else:
            yield connection


def _file_hash(path: Path, memory: sqlite3.Connection | None) -> str:
    known = str(path.resolve())
    looked_at = time.time()
    before = path.stat()
    if memory is not None and (remembered := _remembered(memory, known, _state(before))) is not None:
        return remembered
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        after = os.fstat(stream.fileno())
    is_settled = looked_at - max(after.st_mtime, after.st_ctime) > SETTLED_SECONDS
    if memory is not None and is_settled and _state(before) == _state(after):
        _remember(memory, known, _state(after), digest)
    return digest


def _state(found: os.stat_result) -> str:
    times = (found.st_mtime_ns, found.st_ctime_ns)
    return " ".join(map(str, (found.st_size, *times, found.st_dev, found.st_ino)))


def _remembered(memory: sqlite3.Connection, path: str, state: str) -> str | None:
    try:
        row = memory.execute("SELECT sha256 FROM hashes WHERE path = ? AND state = ?", (path, state)).fetchone()
    except sqlite3.Error:
        return None
    return row[0] if row else None


def _remember(memory: sqlite3.Connection, path: str, state: str, digest: str) -> None:
    # A full disk, or the lock of another run: the file is read again next time.
    with suppress(sqlite3.Error):
        memory.execute("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?)", (path, state, digest))
