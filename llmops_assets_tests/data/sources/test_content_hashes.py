"""Content hashes of files: remembered while nothing changed, and never trusted too early."""

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmops_assets.data.sources import content_hashes
from llmops_assets.data.sources.content_hashes import file_hashes


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMOPS_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose bytes were read, in order."""
    names: list[str] = []
    digest = hashlib.file_digest

    def noted(stream, name):
        names.append(Path(stream.name).name)
        return digest(stream, name)

    monkeypatch.setattr(hashlib, "file_digest", noted)
    return names


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled at once."""
    monkeypatch.setattr(content_hashes, "SETTLED_SECONDS", -60.0)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_an_unchanged_file_is_read_once(tmp_path: Path, reads: list[str], settled: None) -> None:
    files = [tmp_path / name for name in ("a", "b")]
    for file in files:
        file.write_bytes(file.name.encode())
    expected = [sha256(b"a"), sha256(b"b")]
    assert list(file_hashes(files)) == list(file_hashes(files)) == expected
    assert reads == ["a", "b"]


def test_a_change_of_the_same_length_with_the_old_time_is_seen(tmp_path: Path, reads: list[str], settled: None) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"one")
    before = file.stat()
    assert list(file_hashes([file])) == [sha256(b"one")]
    # As `cp -p` and rsync leave it: size and time of content tell nothing.
    file.write_bytes(b"two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert list(file_hashes([file])) == [sha256(b"two")]
    (tmp_path / "new").write_bytes(b"six")
    os.utime(tmp_path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tmp_path / "new").replace(file)
    assert list(file_hashes([file])) == [sha256(b"six")]
    assert reads == ["a", "a", "a"]


def test_a_file_that_was_changed_just_now_is_not_remembered(tmp_path: Path, reads: list[str]) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"one")
    assert list(file_hashes([file, file])) == [sha256(b"one")] * 2
    assert reads == ["a", "a"]
    time.sleep(2.1)
    assert list(file_hashes([file])) == list(file_hashes([file])) == [sha256(b"one")]
    assert reads == ["a", "a", "a"]


def test_runs_at_the_same_time_share_the_memory(tmp_path: Path, reads: list[str], settled: None) -> None:
    files = [tmp_path / f"{number}.txt" for number in range(40)]
    for file in files:
        file.write_bytes(file.name.encode())
    expected = [sha256(file.name.encode()) for file in files]
    with ThreadPoolExecutor(8) as pool:
        assert all(found == expected for found in pool.map(lambda _: list(file_hashes(files)), range(8)))
    reads.clear()
    assert list(file_hashes(files)) == expected and not reads


def test_a_name_that_is_not_utf8_is_remembered_too(tmp_path: Path, reads: list[str], settled: None) -> None:
    file = tmp_path / os.fsdecode(b"caf\xe9.txt")
    file.write_bytes(b"Text.")
    assert [*file_hashes([file]), *file_hashes([file])] == [sha256(b"Text.")] * 2
    assert len(reads) == 1


@pytest.mark.parametrize("broken", ["no database", "no folder"])
def test_files_are_read_where_the_memory_cannot_be_used(
    tmp_path: Path, state: Path, reads: list[str], settled: None, broken: str
) -> None:
    if broken == "no folder":
        state.write_text("A file.")
    else:
        state.mkdir()
        (state / "content_hashes.sqlite").write_text("No database. " * 100)
    file = tmp_path / "a"
    file.write_bytes(b"one")
    assert list(file_hashes([file])) == list(file_hashes([file])) == [sha256(b"one")]
    assert reads == ["a", "a"]
