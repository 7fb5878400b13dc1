"""What is asked of the place where the database lies."""

import sqlite3
from pathlib import Path

import pytest

from llmops_assets.feedback import database
from llmops_assets.feedback.database import Database, refuse_network_filesystem
from llmops_assets.feedback.errors import StoreUnavailable
from llmops_assets.feedback.store import FeedbackStore

_MOUNTS = """\
overlay / overlay rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sda1 /home/ann/scratch ext4 rw 0 0
host:/data /my\\040data fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    ("file", "refused"),
    [
        ("/var/lib/feedback.db", None),
        ("/home/ann/feedback.db", "nfs4, server:/home"),
        ("/home/ann/scratch/feedback.db", None),
        ("/homes/feedback.db", None),
        ("/my data/feedback.db", "fuse.sshfs"),
    ],
)
def test_network_filesystems_are_refused(tmp_path: Path, file: str, refused: str | None):
    mounts = tmp_path / "mounts"
    mounts.write_text(_MOUNTS)
    if refused is None:
        refuse_network_filesystem(Path(file), mounts)
    else:
        with pytest.raises(StoreUnavailable, match=refused):
            refuse_network_filesystem(Path(file), mounts)


def test_sqlite_is_durable_and_checks_references(sqlite_url: str):
    FeedbackStore(sqlite_url).close()
    opened = Database(sqlite_url)
    with opened.read() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "foreign_keys", "synchronous", "secure_delete")
        }
    opened.close()
    assert settings == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2, "secure_delete": 1}


def test_readers_go_on_while_someone_writes(sqlite_url: str):
    FeedbackStore(sqlite_url).close()
    opened = Database(sqlite_url)
    with opened.write(), opened.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM vote").scalar_one() == 0
    opened.close()


def test_a_database_that_stays_locked_is_one_clear_error(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    FeedbackStore(sqlite_url).close()
    monkeypatch.setattr(database, "_BUSY_TIMEOUT_MS", 50)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    opened = Database(sqlite_url)
    with pytest.raises(StoreUnavailable, match=r"database is locked\. Check that"), opened.write():
        pass
    other.close()
    opened.close()


def test_a_file_that_is_no_database_is_one_clear_error(tmp_path: Path):
    file = tmp_path / "notes.db"
    file.write_text("these are notes, not a database " * 100)
    with pytest.raises(StoreUnavailable, match=r"notes\.db"):
        FeedbackStore(f"sqlite:///{file}")
    assert file.read_text().startswith("these are notes")
