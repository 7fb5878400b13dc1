"""Files of a LakeFS repository: read at one commit, fetched once, and refused with a reason."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmops_assets.data.records import Document
from llmops_assets.data.sources.file_sources import MissingSourceError, find_files
from llmops_assets.data.sources.reading import facts_of, pinned, read_corpus_source, read_sft_source
from llmops_assets.data.sources.specs import RegistryConversationsSource, RegistryTextSource, TextFilesSource
from llmops_assets_tests.data.lakefs_server import ACCESS_KEY, SECRET_KEY, LakeFsServer, running_lakefs

PATTERN = "lakefs://docs/main/texts/**/*.jsonl"


def record(text: str) -> bytes:
    return json.dumps({"text": text}).encode() + b"\n"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LakeFsServer]:
    """A server that the environment names, with four files on the branch main of the repository docs."""
    with running_lakefs() as server:
        monkeypatch.setenv("LLMOPS_STATE_DIR", str(tmp_path / "state"))
        access = {"ENDPOINT": server.endpoint, "ACCESS_KEY": ACCESS_KEY, "SECRET_KEY": SECRET_KEY}
        for name, value in access.items():
            monkeypatch.setenv(f"LAKEFS_{name}", value)
        files = {f"texts/{name}.jsonl": record(f"Text of {name}.") for name in ("a", "deep/b", "c")}
        server.commit("docs", "main", {**files, "texts/notes.md": b"# Notes", "other/d.jsonl": record("Other.")})
        yield server


def texts(source: TextFilesSource) -> list[str]:
    return [record.text for record in read_corpus_source(source, Path()) if isinstance(record, Document)]


def test_a_pattern_finds_the_files_of_a_branch_page_by_page(server: LakeFsServer) -> None:
    source = TextFilesSource(name="docs", pattern=PATTERN)
    assert texts(source) == ["Text of a.", "Text of c.", "Text of deep/b."]
    names = [name for _, name in find_files(source, Path())]
    assert names == ["lakefs://docs/texts/a.jsonl", "lakefs://docs/texts/c.jsonl", "lakefs://docs/texts/deep/b.jsonl"]
    single = source.model_copy(update={"pattern": "lakefs://docs/main/other/d.jsonl"})
    assert texts(single) == ["Other."]


def test_what_begins_with_a_dot_is_read_where_the_pattern_names_it(server: LakeFsServer) -> None:
    server.commit("docs", "main", {"new/.git/x.jsonl": record("Hidden."), "new/y.jsonl": record("Seen.")})
    assert texts(TextFilesSource(name="docs", pattern="lakefs://docs/main/new/**/*.jsonl")) == ["Seen."]
    assert texts(TextFilesSource(name="docs", pattern="lakefs://docs/main/new/.git/*.jsonl")) == ["Hidden."]


def test_a_name_with_letters_that_mean_something_in_addresses_keeps_its_suffix(server: LakeFsServer) -> None:
    names = ["texts/x#1.jsonl", "texts/y?.jsonl"]
    server.commit("docs", "main", {name: record(name) for name in names})
    assert texts(TextFilesSource(name="docs", pattern="lakefs://docs/main/texts/[xy]*.jsonl")) == names


def test_an_unchanged_commit_is_fetched_once(server: LakeFsServer) -> None:
    source = TextFilesSource(name="docs", pattern=PATTERN)
    first = facts_of(source, Path())
    assert sorted(server.fetched) == ["texts/a.jsonl", "texts/c.jsonl", "texts/deep/b.jsonl"]
    assert (texts(source), facts_of(source, Path())) == (texts(source), first)
    assert len(server.fetched) == 3
    assert (first.revision, first.files) == (server.refs["docs", "main"], 3)


def test_a_branch_that_moves_is_another_version_and_only_what_changed_is_fetched(server: LakeFsServer) -> None:
    source = TextFilesSource(name="docs", pattern=PATTERN)
    before = facts_of(source, Path())
    moved = server.commit("docs", "main", {"texts/c.jsonl": record("New text.")})
    server.fetched.clear()
    after = facts_of(source, Path())
    assert after.revision == moved != before.revision
    assert after.content_hash != before.content_hash
    assert server.fetched == ["texts/c.jsonl"]
    assert "New text." in texts(source)
    # A commit that leaves these files alone gives the same records, under the commit's own id.
    server.commit("docs", "main", {"other/e.jsonl": record("Elsewhere.")})
    untouched = facts_of(source, Path())
    assert untouched.content_hash == after.content_hash and untouched.revision != after.revision


def test_what_is_pinned_is_read_at_its_commit_while_the_branch_moves(server: LakeFsServer) -> None:
    source = TextFilesSource(name="docs", pattern=PATTERN)
    held = pinned(source, Path())
    commit = server.refs["docs", "main"]
    assert held.pattern == f"lakefs://docs/{commit}/texts/**/*.jsonl"
    server.commit("docs", "main", {"texts/a.jsonl": record("Moved.")})
    server.resolved.clear()
    assert "Text of a." in texts(held) and "Moved." in texts(source)
    assert facts_of(held, Path()).revision == commit
    # A commit needs no looking up; the branch was asked for once, by the reading that was not pinned.
    assert server.resolved == ["main"]
    server.tag("docs", "v1", commit)
    tagged = source.model_copy(update={"pattern": PATTERN.replace("main", "v1")})
    assert pinned(tagged, Path()) == held


def test_documents_keep_their_names_from_commit_to_commit(server: LakeFsServer) -> None:
    source = TextFilesSource(name="docs", pattern=PATTERN)
    before = [record.id for record in read_corpus_source(source, Path()) if isinstance(record, Document)]
    server.commit("docs", "main", {"texts/a.jsonl": record("Changed.")})
    assert [r.id for r in read_corpus_source(source, Path()) if isinstance(r, Document)] == before


def test_a_whole_registry_may_lie_in_a_repository(server: LakeFsServer) -> None:
    rows = [{"instruction": "Add.", "input": "1 and 2", "output": "3"}]
    registry = {"sums": {"file_name": "sums.json"}}
    files = {"data/dataset_info.json": json.dumps(registry), "data/sums.json": json.dumps(rows)}
    server.commit("docs", "main", {name: text.encode() for name, text in files.items()})
    source = RegistryConversationsSource(name="sums", file="lakefs://docs/main/data/dataset_info.json", dataset="sums")
    held = pinned(source, Path())
    server.commit("docs", "main", {"data/sums.json": b"[]"})
    [conversation] = read_sft_source(held, Path())
    assert [turn.content for turn in conversation.messages] == ["Add.\n1 and 2", "3"]  # pyright: ignore
    assert held.file == f"lakefs://docs/{facts_of(held, Path()).revision}/data/dataset_info.json"


def test_a_registry_cannot_point_to_a_branch_which_each_reading_would_look_up(
    server: LakeFsServer, tmp_path: Path
) -> None:
    def entry(address: str) -> RegistryTextSource:
        (tmp_path / "dataset_info.json").write_text(json.dumps({"texts": {"cloud_file_name": address}}))
        return RegistryTextSource(name="texts", file="dataset_info.json", dataset="texts")

    with pytest.raises(MissingSourceError, match=r"texts: `cloud_file_name: lakefs://docs/main/.*` moves; name the"):
        pinned(entry("lakefs://docs/main/texts/a.jsonl"), tmp_path)
    with pytest.raises(MissingSourceError, match="must be lakefs://<repository>"):
        pinned(entry("lakefs://docs"), tmp_path)
    commit = server.refs["docs", "main"]
    held = pinned(entry(f"lakefs://docs/{commit}/texts/a.jsonl"), tmp_path)
    assert (facts_of(held, tmp_path).revision, facts_of(held, tmp_path).files) == (commit, 1)


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        (
            "lakefs://gone/main/a.jsonl",
            r"no repository 'gone' with .*'main' \(repository not found\); mend the pattern",
        ),
        ("lakefs://docs/gone/a.jsonl", r"branch, tag or commit 'gone' \(ref not found\); mend the pattern"),
        ("lakefs://docs/main/gone/*.jsonl", r"matches no file. Mend the path; what is staged .* once it is committed"),
        ("lakefs://docs/a.jsonl", r"must be lakefs://<repository>/<branch, tag or commit>/<path>"),
    ],
)
def test_what_is_not_there_is_named(server: LakeFsServer, pattern: str, sentence: str) -> None:
    with pytest.raises(MissingSourceError, match=rf"source 'docs'.*{sentence}"):
        find_files(TextFilesSource(name="docs", pattern=pattern), Path())


def test_refused_credentials_say_which_to_mend_and_not_what_they_are(
    server: LakeFsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = TextFilesSource(name="docs", pattern=PATTERN)
    server.forbids = True
    with pytest.raises(MissingSourceError, match="may not read repository 'docs'"):
        find_files(source, Path())
    monkeypatch.setenv("LAKEFS_SECRET_KEY", "wrong-secret")
    with pytest.raises(MissingSourceError, match="mend LAKEFS_ACCESS_KEY and LAKEFS_SECRET_KEY") as refused:
        find_files(source, Path())
    assert "wrong-secret" not in str(refused.value) and ACCESS_KEY not in str(refused.value)
    monkeypatch.delenv("LAKEFS_SECRET_KEY")
    monkeypatch.delenv("LAKEFS_ENDPOINT")
    with pytest.raises(MissingSourceError, match="LAKEFS_ENDPOINT and LAKEFS_SECRET_KEY must be set"):
        find_files(source, Path())


def test_a_server_that_does_not_answer_is_named(server: LakeFsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEFS_ENDPOINT", "http://user:hidden@127.0.0.1:9")
    with pytest.raises(MissingSourceError, match=r"LAKEFS_ENDPOINT=http://127.0.0.1:9 does not answer") as refused:
        find_files(TextFilesSource(name="docs", pattern=PATTERN), Path())
    assert "hidden" not in str(refused.value)


def test_a_server_of_another_kind_is_no_lakefs(server: LakeFsServer) -> None:
    server.answers_as_lakefs = False
    with pytest.raises(MissingSourceError, match=r"LAKEFS_ENDPOINT=http://127.0.0.1:\d+ does not answer as LakeFS"):
        find_files(TextFilesSource(name="docs", pattern=PATTERN), Path())


def test_a_file_that_breaks_off_leaves_nothing_behind(server: LakeFsServer, tmp_path: Path) -> None:
    server.cuts = 3
    with pytest.raises(MissingSourceError, match=r"texts/a.jsonl broke off after 20 of 23 bytes; retry"):
        find_files(TextFilesSource(name="docs", pattern=PATTERN), Path())
    assert not [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
