"""Files behind a URL: fetched once, again when they change, and never left half."""

import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from llmops_assets.data.records import Document
from llmops_assets.data.sources.file_sources import MissingSourceError, find_files
from llmops_assets.data.sources.reading import read_corpus_source, source_hash
from llmops_assets.data.sources.specs import TextFilesSource


class Server(ThreadingHTTPServer):
    """Serves a folder and counts what is fetched. `tells_time` is whether answers say when a file was changed."""

    requested: list[str]
    tells_time = True
    refuses = False


class Handler(SimpleHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requested.append(self.path)
        if self.server.refuses:
            self.send_error(403)
        else:
            super().do_GET()

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Last-Modified" or self.server.tells_time:
            super().send_header(keyword, value)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMOPS_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, Server, str]]:
    """A folder with `a.txt`, its server and address."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "a.txt").write_text("First.")
    with Server(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        server.requested = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, server, f"http://127.0.0.1:{server.server_port}/a.txt"
        server.shutdown()
        thread.join()


def texts(source: TextFilesSource, base_dir: Path) -> list[str]:
    return [record.text for record in read_corpus_source(source, base_dir) if isinstance(record, Document)]


def test_a_file_of_the_web_is_fetched_once_and_again_when_it_changes(
    served: tuple[Path, Server, str], tmp_path: Path
) -> None:
    folder, server, url = served
    source = TextFilesSource(name="web", pattern=f"{url}?signature=secret")
    assert texts(source, tmp_path) == ["First."]
    first = source_hash(source, tmp_path)
    assert len(server.requested) == 1
    [(_, shown)] = find_files(source, tmp_path)
    assert shown == url
    (folder / "a.txt").write_text("Other.")
    os.utime(folder / "a.txt", (1, 1))
    assert texts(source, tmp_path) == ["Other."]
    assert source_hash(source, tmp_path) != first
    assert len(server.requested) == 2


def test_a_server_that_tells_no_change_is_asked_every_time(served: tuple[Path, Server, str], tmp_path: Path) -> None:
    folder, server, url = served
    server.tells_time = False
    source = TextFilesSource(name="web", pattern=url)
    assert texts(source, tmp_path) == ["First."]
    (folder / "a.txt").write_text("Other.")
    assert texts(source, tmp_path) == ["Other."]


def test_what_cannot_be_fetched_says_so_without_the_query(served: tuple[Path, Server, str], tmp_path: Path) -> None:
    _, _, url = served
    with pytest.raises(MissingSourceError, match=r"source 'web' .*b\.txt. matches no file"):
        find_files(TextFilesSource(name="web", pattern=url.replace("a.txt", "b.txt")), tmp_path)
    with pytest.raises(MissingSourceError, match=r"a\.txt` matches no file. Mend the address") as refused:
        find_files(TextFilesSource(name="web", pattern="http://127.0.0.1:9/a.txt?signature=secret"), tmp_path)
    assert "secret" not in str(refused.value)
    for user in ("me:secret", ":secret"):
        with pytest.raises(MissingSourceError, match="name or password; put credentials into the") as refused:
            find_files(TextFilesSource(name="web", pattern=f"http://{user}@127.0.0.1/a.txt"), tmp_path)
        assert "secret" not in str(refused.value)
    with pytest.raises(MissingSourceError) as refused:
        find_files(TextFilesSource(name="web", pattern="https://[host/a.txt?signature=secret"), tmp_path)
    assert "secret" not in str(refused.value)
    with pytest.raises(MissingSourceError, match=r"cannot be read: .*nowhere"):
        find_files(TextFilesSource(name="web", pattern="nowhere://a.txt"), tmp_path)


def test_a_download_that_is_refused_shows_no_secret_and_leaves_no_file(
    served: tuple[Path, Server, str], tmp_path: Path, state: Path
) -> None:
    _, server, url = served
    server.refuses = True
    with pytest.raises(MissingSourceError, match=r"cannot be read: .*403") as refused:
        find_files(TextFilesSource(name="web", pattern=f"{url}?signature=secret"), tmp_path)
    assert "secret" not in str(refused.value)
    assert not [path for path in state.rglob("*") if path.is_file()]


def test_a_file_of_another_kind_is_refused_without_the_query(served: tuple[Path, Server, str], tmp_path: Path) -> None:
    folder, _, url = served
    (folder / "a.pdf").write_bytes(b"%PDF")
    source = TextFilesSource(name="web", pattern=f"{url.replace('a.txt', 'a.pdf')}?signature=secret")
    with pytest.raises(MissingSourceError, match=r"a\.pdf, which is none of") as refused:
        list(read_corpus_source(source, tmp_path))
    assert "secret" not in str(refused.value)


def test_another_signature_fetches_nothing_anew(served: tuple[Path, Server, str], tmp_path: Path) -> None:
    _, server, url = served
    for signature in ("one", "two"):
        assert texts(TextFilesSource(name="web", pattern=f"{url}?signature={signature}"), tmp_path) == ["First."]
    assert len(server.requested) == 1


def test_a_pattern_finds_the_files_of_a_store(tmp_path: Path, state: Path) -> None:
    fs = fsspec.filesystem("memory")
    for name, content in (("b.txt", "B."), ("a.txt", "A."), ("c.md", "C.")):
        fs.pipe(f"/bucket/docs/{name}", content.encode())
    source = TextFilesSource(name="store", pattern="memory://bucket/docs/*.txt")
    assert texts(source, tmp_path) == ["A.", "B."]
    assert [name for _, name in find_files(source, tmp_path)] == [
        "memory:///bucket/docs/a.txt",
        "memory:///bucket/docs/b.txt",
    ]
    assert not list(state.rglob(".partial*"))
    fs.pipe("/bucket/notes/c#1.txt", b"C#.")
    assert texts(source.model_copy(update={"pattern": "memory://bucket/notes/*.txt"}), tmp_path) == ["C#."]
    fs.pipe("/bucket/.git/x.md", b"Hidden.")
    assert texts(source.model_copy(update={"pattern": "memory://bucket/**/*.md"}), tmp_path) == ["C."]
    assert texts(source.model_copy(update={"pattern": "memory://bucket/.git/*.md"}), tmp_path) == ["Hidden."]
    fs.rm("/bucket", recursive=True)
