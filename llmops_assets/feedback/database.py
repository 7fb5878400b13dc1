"""One database, two ways in: `read` sees a consistent snapshot, `write` is the only writer while its transaction lasts.

Writers queue, on SQLite by `BEGIN IMMEDIATE` and on PostgreSQL by an advisory lock, so that the order of vote numbers
is the order of commits: a reader that has seen vote 7 will never meet a vote 6 later. Watermarks depend on that.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from llmops_assets.feedback.errors import StoreUnavailable

_WRITES = "feedback_writes"
_BUSY_TIMEOUT_MS = 15_000
# Any constant will do, as long as every process of every version uses the same one.
_POSTGRES_WRITER_LOCK = 7_303_014_625_187_001
_NETWORK_FILESYSTEMS = frozenset(
    ["nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "glusterfs", "beegfs", "gpfs"]
)
_FUSE_NETWORK_FILESYSTEMS = frozenset(["sshfs", "glusterfs", "ceph", "s3fs", "gcsfuse", "blobfuse2", "rclone"])


class Database:
    """Connections to the feedback database at `url` (SQLite file or PostgreSQL).

    Raises `StoreUnavailable` for a URL of another kind, an in-memory database, or a file on a network filesystem.
    """

    def __init__(self, url: str) -> None:
        self.url = _supported_url(url)
        self.file = Path(self.url.database).resolve() if self.url.database and self.is_sqlite else None
        if self.file:
            refuse_network_filesystem(self.file)
            self.url = self.url.set(database=str(self.file))
            self.file.parent.mkdir(parents=True, exist_ok=True)
        self._engine = create_engine(self.url, pool_pre_ping=not self.is_sqlite)
        if self.is_sqlite:
            event.listen(self._engine, "connect", _prepare_sqlite_connection)
        event.listen(self._engine, "begin", _begin)
        self._writer = self._engine.execution_options(**{_WRITES: True})
        self._reader = self._engine if self.is_sqlite else _postgres_reader(self._engine)

    @property
    def is_sqlite(self) -> bool:
        """Whether votes live in a local file."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def name(self) -> str:
        """The URL for messages, without its password."""
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction on one snapshot. Raises `StoreUnavailable` when the database cannot be reached."""
        with self._translated_errors(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A write transaction, alone; committed when the block ends, rolled back when it raises.

        Raises `StoreUnavailable` when the database cannot be reached or stays locked.
        """
        with self._translated_errors(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def first_open(self) -> Iterator[Connection]:
        """A write transaction in which the schema may be built, safe when several processes open a new store."""
        if self.file is None:
            with self.write() as connection:
                yield connection
            return
        with self.file_lock():
            # Switching to WAL ignores the busy timeout, hence the lock around it. The mode is a property of the file.
            with self._translated_errors(), self._engine.connect() as connection:
                raw = connection.connection.dbapi_connection
                assert raw is not None
                raw.cursor().execute("PRAGMA journal_mode=WAL")
            with self.write() as connection:
                yield connection

    @contextmanager
    def file_lock(self) -> Iterator[None]:
        """Hold the lock file beside an SQLite database: for what a transaction cannot protect."""
        assert self.file is not None, "only a database file has a lock file"
        with Path(f"{self.file}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def truncate_log(self) -> None:
        """Fold SQLite's write-ahead log into the file, so that erased text does not stay behind in it."""
        if not self.is_sqlite:
            return
        with self._translated_errors(), self._engine.connect() as connection:
            raw = connection.connection.dbapi_connection
            assert raw is not None
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close every pooled connection."""
        self._engine.dispose()

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            # A file that is no SQLite database arrives as the base class itself.
            damaged = self.is_sqlite and type(error) is DatabaseError
            if not damaged and not isinstance(error, OperationalError):
                raise
            raise StoreUnavailable(
                f"feedback store {self.name}: {error.orig}. Check that the URL names a feedback database, that it is "
                "running, that its folder can be written and that no other program holds it locked; nothing of this "
                "operation was kept."
            ) from error


def refuse_network_filesystem(file: Path, mounts: Path = Path("/proc/mounts")) -> None:
    """Raise `StoreUnavailable` if `file` lies on a network mount, where SQLite's locks do not hold.

    Systems without a mount table of this form are let through.
    """
    if not mounts.exists():
        return
    best, filesystem, device = Path("/"), "", ""
    for line in mounts.read_text(errors="replace").splitlines():
        source, point, kind, *_ = line.split(" ")
        mounted_at = Path(point.replace("\\040", " "))
        if file.is_relative_to(mounted_at) and len(mounted_at.parts) >= len(best.parts):
            best, filesystem, device = mounted_at, kind, source
    if filesystem in _NETWORK_FILESYSTEMS or filesystem.removeprefix("fuse.") in _FUSE_NETWORK_FILESYSTEMS:
        raise StoreUnavailable(
            f"feedback store {file}: {best} is a network filesystem ({filesystem}, {device}), where SQLite loses "
            "votes. Put the file on a local disk, or use a postgresql:// URL."
        )


def _supported_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreUnavailable(f"feedback store URL {url!r} cannot be read: {error}") from error
    backend = parsed.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise StoreUnavailable(
            f"feedback store {parsed.render_as_string(hide_password=True)}: use a sqlite:/// or postgresql:// URL."
        )
    if parsed.database in (None, "", ":memory:") or (parsed.database or "").startswith("file:"):
        raise StoreUnavailable("feedback store: votes need a file; use sqlite:////absolute/path/feedback.db.")
    return parsed.set(drivername="sqlite+pysqlite")


def _postgres_reader(engine: Engine) -> Engine:
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def _prepare_sqlite_connection(dbapi_connection: Any, _record: object) -> None:
    # The driver must not begin transactions of its own: `_begin` decides their kind.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA foreign_keys=ON")
    # An acknowledged vote survives a power cut, not only a killed process.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
    elif writes:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_POSTGRES_WRITER_LOCK})")
