import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from llmops_assets.data.jsonl import LONGEST_LINE
from llmops_assets.data.records import Conversation, Document, QuarantinedRecord, Reason
from llmops_assets.data.sources.file_sources import MissingSourceError
from llmops_assets.data.sources.python_stdlib import read_python_stdlib
from llmops_assets.data.sources.python_topics import read_python_topics
from llmops_assets.data.sources.reading import read_corpus_source, read_sft_source, source_hash
from llmops_assets.data.sources.record_files import UnreadableFileError
from llmops_assets.data.sources.specs import (
    ConversationFilesSource,
    CorpusSource,
    HubTextSource,
    PythonStdlibSource,
    PythonTopicsSource,
    Sources,
    TextFilesSource,
)


@pytest.fixture(scope="module")
def stdlib() -> dict[str, Document]:
    return {doc.id: doc for doc in read_python_stdlib(PythonStdlibSource(name="stdlib"))}


def test_standard_library_is_read_from_source_and_from_c_modules(stdlib: dict[str, Document]) -> None:
    copyfile = stdlib["stdlib/shutil.copyfile"]
    assert copyfile.text.startswith("shutil.copyfile(src, dst, *, follow_symlinks=True)\n\nCopy data from src to dst")
    assert copyfile.body.startswith("Copy data")
    assert re.fullmatch(r"shutil\.py:\d+", copyfile.origin)
    assert "stdlib/math.gcd" in stdlib and "stdlib/builtins.dict.get" in stdlib
    assert not any(identity.startswith(("stdlib/idlelib", "stdlib/test.")) for identity in stdlib)


def test_class_is_one_group_with_its_methods(stdlib: dict[str, Document]) -> None:
    assert stdlib["stdlib/argparse.ArgumentParser"].group == stdlib["stdlib/argparse.ArgumentParser.error"].group
    assert stdlib["stdlib/shutil.copyfile"].group == stdlib["stdlib/shutil.move"].group == "api/shutil"
    assert stdlib["stdlib/email.message.Message.get_payload"].group == "api/email.message.Message"


def test_sections_of_topics_hold_the_whole_language_reference() -> None:
    from pydoc_data.topics import topics

    documents = list(read_python_topics(PythonTopicsSource(name="topics")))
    held = {line.strip() for document in documents for line in document.text.splitlines()}
    lost = {
        line.strip()
        for text in topics.values()
        for line in text.splitlines()
        if line.strip() and not re.fullmatch(r"([*=\-~^\"])\1+", line.strip())
    } - held
    # Headings without a body of their own are the only lines that are left out.
    assert len(lost) < 20 and all(len(line) < 80 for line in lost)
    assert len({document.id for document in documents}) == len(documents)


def test_files_of_three_kinds_are_read_and_broken_text_is_quarantined(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.txt").write_text("Plain text.\r\n", encoding="utf-8")
    (folder / "b.md").write_text("# Title\n\nMarkdown.", encoding="utf-8")
    (folder / "c.jsonl").write_text('{"text": "Record.", "id": "r1", "group": "g"}\n', encoding="utf-8")
    (folder / "d.txt").write_bytes(b"line one\nbad \xff byte")
    source = TextFilesSource(name="docs", pattern="docs/*", license="MIT")

    records = list(read_corpus_source(source, tmp_path))

    texts = [(r.id, r.text, r.origin, r.group) for r in records if isinstance(r, Document)]
    assert texts == [
        ("docs/docs/a.txt", "Plain text.", "docs/a.txt:1", "file/docs/a.txt"),
        ("docs/docs/b.md", "# Title\n\nMarkdown.", "docs/b.md:1", "file/docs/b.md"),
        ("docs/r1", "Record.", "docs/c.jsonl:1", "g"),
    ]
    [bad] = [record for record in records if isinstance(record, QuarantinedRecord)]
    assert (bad.origin_file, bad.line, bad.reason) == ("docs/d.txt", 2, Reason.INVALID_UTF8)


def test_a_packed_text_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"Text." * 100)[:-9])
    with pytest.raises(UnreadableFileError, match=r"a\.txt\.gz: cannot be read to its end"):
        list(read_corpus_source(TextFilesSource(name="a", pattern="*.gz"), tmp_path))


def test_lines_and_paragraphs_can_be_documents(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One.\nStill one.\n\n \n\n  Two.\n", encoding="utf-8")

    def texts(documents: str) -> list[tuple[str, str]]:
        source = TextFilesSource.model_validate({"name": "a", "pattern": "a.txt", "documents": documents})
        records = list(read_corpus_source(source, tmp_path))
        assert len({record.group for record in records if isinstance(record, Document)}) == len(records)
        return [(record.origin, record.text) for record in records if isinstance(record, Document)]

    assert texts("line") == [("a.txt:1", "One."), ("a.txt:2", "Still one."), ("a.txt:6", "  Two.")]
    assert texts("paragraph") == [("a.txt:1", "One.\nStill one."), ("a.txt:6", "  Two.")]


def parts(folder: Path, documents: str) -> list[tuple[str, str]]:
    """Return (place, text or reason) of the documents of a.txt, and of what was rejected."""
    source = TextFilesSource.model_validate({"name": "a", "pattern": "a.txt*", "documents": documents})
    return [
        (record.origin, record.text)
        if isinstance(record, Document)
        else (f"{record.origin_file}:{record.line}", str(record.reason))
        for record in read_corpus_source(source, folder)
        if isinstance(record, Document | QuarantinedRecord)
    ]


def test_all_that_ends_a_line_parts_lines_and_the_place_is_the_line_of_the_file(tmp_path: Path) -> None:
    raw = "\ufeffOne.\r\nTwo.\rThree.  \x0c\u2028Six.\n\x01\ne\u0301"
    (tmp_path / "a.txt").write_bytes(raw.encode())
    lines = [("a.txt:1", "One."), ("a.txt:2", "Two."), ("a.txt:2", "Three."), ("a.txt:2", "Six."), ("a.txt:4", "é")]
    assert parts(tmp_path, "line") == lines
    paragraphs = [("a.txt:1", "One.\nTwo.\nThree."), ("a.txt:2", "Six."), ("a.txt:4", "é")]
    assert parts(tmp_path, "paragraph") == paragraphs
    source = TextFilesSource(name="a", pattern="a.txt", documents="line")
    read = [record for record in read_corpus_source(source, tmp_path) if isinstance(record, Document)]
    assert [record.id for record in read] == [f"a/a.txt:{number}" for number in (1, 2, 3, 5, 7)]


@pytest.mark.parametrize("documents", ["file", "line", "paragraph"])
def test_a_bad_byte_is_reported_on_its_line_of_the_file(tmp_path: Path, documents: str) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\x0ctwo\r\nthree\n\n  indented\n\xff bad")
    assert ("a.txt:5", "invalid_utf8") in parts(tmp_path, documents)


def test_a_broken_or_endless_line_is_quarantined_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(
        gzip.compress(b"One.\nbad \xff byte\n\n" + b"x" * (LONGEST_LINE + 1) + b"\nFive.\n\nSeven.")
    )
    broken = [("a.txt.gz:2", "invalid_utf8"), ("a.txt.gz:4", "too_large")]
    read = [("a.txt.gz:1", "One."), ("a.txt.gz:5", "Five."), ("a.txt.gz:7", "Seven.")]
    assert parts(tmp_path, "line") == sorted([*broken, *read])
    # A paragraph with a hole is none.
    assert parts(tmp_path, "paragraph") == [*broken, ("a.txt.gz:7", "Seven.")]


def test_an_endless_paragraph_is_quarantined(tmp_path: Path) -> None:
    line = b"x" * (LONGEST_LINE // 4) + b"\n"
    (tmp_path / "a.txt").write_bytes(b"One.\n\n" + line * 4 + b"\nEight.")
    assert parts(tmp_path, "paragraph") == [("a.txt:1", "One."), ("a.txt:3", "too_large"), ("a.txt:8", "Eight.")]
    (tmp_path / "a.txt").write_bytes(b" \n")
    assert parts(tmp_path, "line") == [("a.txt:1", "empty")]


def test_absolute_pattern_is_read_and_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Text.", encoding="utf-8")
    source = TextFilesSource(name="docs", pattern=str(tmp_path / "*"))
    assert len(list(read_corpus_source(source, Path("/nowhere")))) == 1
    (tmp_path / "b.pdf").write_bytes(b"%PDF")
    with pytest.raises(MissingSourceError, match=r"b\.pdf, which is none of \.jsonl, .*\.txt, \.md"):
        list(read_corpus_source(source, tmp_path))


def test_pattern_may_climb_and_a_senseless_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "a.txt").write_text("Text.", encoding="utf-8")
    [record] = read_corpus_source(TextFilesSource(name="docs", pattern="../*.txt"), tmp_path / "recipes")
    assert isinstance(record, Document) and record.origin == "../a.txt:1"
    for pattern in (".", "**.txt"):
        with pytest.raises(MissingSourceError, match="source 'docs'"):
            list(read_corpus_source(TextFilesSource(name="docs", pattern=pattern), tmp_path))


def test_a_file_whose_name_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("Text.", encoding="utf-8")
    source = TextFilesSource(name="docs", pattern="*.txt")
    for read in (lambda: list(read_corpus_source(source, tmp_path)), lambda: source_hash(source, tmp_path)):
        with pytest.raises(MissingSourceError, match=r"matches 'caf\\udce9\.txt', whose name is not UTF-8; rename"):
            read()


def test_hash_changes_with_one_byte_and_with_a_new_file(tmp_path: Path) -> None:
    source = TextFilesSource(name="docs", pattern="*.txt")
    (tmp_path / "a.txt").write_text("Text.", encoding="utf-8")
    hashes = {source_hash(source, tmp_path)}
    assert source_hash(source, tmp_path) in hashes
    (tmp_path / "a.txt").write_text("Text!", encoding="utf-8")
    hashes.add(source_hash(source, tmp_path))
    (tmp_path / "b.txt").write_text("More.", encoding="utf-8")
    hashes.add(source_hash(source, tmp_path))
    assert len(hashes) == 3


def test_hash_of_a_python_source_is_the_same_in_another_process() -> None:
    code = (
        "from pathlib import Path; from llmops_assets.data.sources.reading import source_hash; "
        "from llmops_assets.data.sources.specs import PythonTopicsSource; "
        "print(source_hash(PythonTopicsSource(name='topics'), Path()))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == source_hash(PythonTopicsSource(name="topics"), Path())


def test_conversations_that_open_alike_are_one_group(
    tmp_path: Path, conversations_source: Callable[..., ConversationFilesSource]
) -> None:
    def line(question: str, answer: str) -> str:
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        return json.dumps({"messages": turns})

    source = conversations_source(
        "chats.jsonl", line("How are you?", "Fine."), line("how  are you?", "Well."), line("Who?", "I.")
    )
    records = [record for record in read_sft_source(source, tmp_path) if isinstance(record, Conversation)]
    assert records[0].group == records[1].group != records[2].group
    assert len({record.id for record in records}) == 3


def test_local_data_set_is_read_through_datasets_and_selected_by_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "folder"
    folder.mkdir()
    rows = [{"body": f"Text number {number}.", "other": number} for number in range(20)] + [{"body": "", "other": 0}]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = HubTextSource(name="hub", dataset="folder", column="body", max_records=21)

    records = list(read_corpus_source(source, tmp_path))

    assert [record.text for record in records if isinstance(record, Document)][:2] == [
        "Text number 0.",
        "Text number 1.",
    ]
    [empty] = [record for record in records if isinstance(record, QuarantinedRecord)]
    assert (empty.line, empty.reason) == (21, Reason.EMPTY)
    few = source.model_copy(update={"max_records": 5})
    assert len(list(read_corpus_source(few, tmp_path))) == 5
    assert source_hash(few, tmp_path) != source_hash(source, tmp_path)
    with pytest.raises(MissingSourceError, match="no column 'text'"):
        list(read_corpus_source(source.model_copy(update={"column": "text"}), tmp_path))


def test_hub_data_set_that_cannot_be_reached_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    source = HubTextSource(name="hub", dataset="nobody/nothing")
    with pytest.raises(MissingSourceError, match=r"nobody/nothing.*pin `revision`"):
        source_hash(source, tmp_path)


def test_names_that_would_be_one_step_of_a_run_are_refused() -> None:
    files = {"kind": "files", "pattern": "*.txt"}
    for first, second in (("a.b", "a-b"), ("a", "a")):
        with pytest.raises(ValidationError, match="two sources have the name"):
            TypeAdapter(Sources[CorpusSource]).validate_python([{**files, "name": first}, {**files, "name": second}])
