"""Files of an S3 bucket, through s3fs and the environment of its own tools."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from llmops_assets.data.records import Document
from llmops_assets.data.sources.file_sources import MissingSourceError, find_files
from llmops_assets.data.sources.reading import facts_of, read_corpus_source
from llmops_assets.data.sources.specs import TextFilesSource
from llmops_assets_tests.data.s3_server import S3Server, running_s3

SOURCE = TextFilesSource(name="store", pattern="s3://corpora/docs/*.jsonl.gz", license="CC0-1.0")


def record(text: str) -> bytes:
    return gzip.compress(f'{{"text": "{text}"}}\n'.encode(), mtime=0)


@pytest.fixture(scope="module")
def running() -> Iterator[S3Server]:
    with running_s3() as server:
        yield server


@pytest.fixture
def server(running: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The server, which the environment names, with two records under docs/ and a file of another kind."""
    monkeypatch.setenv("LLMOPS_STATE_DIR", str(tmp_path / "state"))
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    for name, content in (("b", record("B.")), ("a", record("A."))):
        running.put(f"docs/{name}.jsonl.gz", content)
    running.put("docs/notes.md", b"# Notes")
    running.fetched.clear()
    # File systems are kept for the life of a process, with the credentials that they began with.
    S3FileSystem.clear_instance_cache()
    yield running
    S3FileSystem.clear_instance_cache()


def texts(source: TextFilesSource) -> list[str]:
    return [record.text for record in read_corpus_source(source, Path()) if isinstance(record, Document)]


def test_packed_files_of_a_bucket_are_read_by_a_glob(server: S3Server) -> None:
    assert texts(SOURCE) == ["A.", "B."]
    names = [name for _, name in find_files(SOURCE, Path())]
    assert names == ["s3://corpora/docs/a.jsonl.gz", "s3://corpora/docs/b.jsonl.gz"]


def test_an_object_is_fetched_once_and_again_when_it_has_changed(server: S3Server) -> None:
    first = facts_of(SOURCE, Path())
    assert sorted(server.fetched) == ["docs/a.jsonl.gz", "docs/b.jsonl.gz"]
    assert texts(SOURCE) == ["A.", "B."] and facts_of(SOURCE, Path()) == first
    assert len(server.fetched) == 2
    server.put("docs/b.jsonl.gz", record("C."))
    assert texts(SOURCE) == ["A.", "C."]
    assert server.fetched[2:] == ["docs/b.jsonl.gz"]
    assert facts_of(SOURCE, Path()).content_hash != first.content_hash
    server.put("docs/b.jsonl.gz", record("B."))


def test_the_etag_of_a_single_object_is_its_revision(server: S3Server) -> None:
    one = SOURCE.model_copy(update={"pattern": "s3://corpora/docs/a.jsonl.gz"})
    facts = facts_of(one, Path())
    assert facts.revision is not None and len(facts.revision) == 32
    assert (facts.license, facts.files, facts.bytes) == ("CC0-1.0", 1, len(record("A.")))
    assert facts_of(SOURCE, Path()).revision is None


def test_refused_credentials_are_told_without_their_secret(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    for pattern in (SOURCE.pattern, "s3://corpora/docs/a.jsonl.gz"):
        source = SOURCE.model_copy(update={"pattern": pattern})
        with pytest.raises(MissingSourceError, match=r"source 'store'.*refuses the credentials") as refused:
            find_files(source, Path())
        assert "wrong-secret" not in str(refused.value)


def test_a_bucket_that_is_not_there_is_no_file(server: S3Server) -> None:
    with pytest.raises(MissingSourceError, match=r"source 'store'.*s3://gone/"):
        find_files(SOURCE.model_copy(update={"pattern": "s3://gone/*.jsonl"}), Path())
