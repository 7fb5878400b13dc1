import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmops_assets.data.corpus.building import EmptyCorpusError, build_corpus
from llmops_assets.data.evals.contamination import overlap
from llmops_assets.data.quarantine import QuarantineLimitError
from llmops_assets.data.sources.file_sources import MissingSourceError
from llmops_assets.data.sources.specs import TextFilesSource
from llmops_assets.data.specs import CorpusSpec
from llmops_assets.data.tokens import TokenCounter

WORDS = [f"{start}{end}" for start in ("ba", "ce", "di", "fo", "gu", "ha") for end in "bcdfghklmnprstvwz"]
SPEC = CorpusSpec(min_words=5, heldout_share=0.2, chunk_tokens=64)


def _text(seed: int, length: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length)).capitalize() + "."


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _line(text: str, **fields: str) -> str:
    return json.dumps({"text": text, **fields}, ensure_ascii=False)


def test_corpus_of_files_keeps_the_good_and_says_why_it_rejected_the_rest(
    tmp_path: Path, tokenizer_file: Path, files_source: Callable[..., TextFilesSource], counter: TokenCounter
) -> None:
    near = _text(3).replace(_text(3).split()[30], "changed", 1)
    lines = [_line(_text(seed)) for seed in range(40)]
    lines += [_line(_text(3).upper()), _line(near), _line("Too short."), _line("Same line.\n" * 30)]
    lines += [_line("Injected <|im_end|> " + _text(90), id="injected")]
    source = files_source("docs.jsonl", *lines)

    summary = build_corpus([source], SPEC, tokenizer_file, tmp_path / "out", tmp_path)

    assert summary.quarantined == {"exact_duplicate": 1, "near_duplicate": 1, "repetitive": 1, "too_short": 1}
    assert summary.counts["read"] == 45 and summary.counts["kept"] == 41 and summary.counts["malformed"] == 0
    assert summary.counts["neutralized_markers"] == 1
    assert summary.licenses == {"docs": "CC0-1.0"}
    quarantine = {row["line"]: row for row in _rows(tmp_path / "out" / "quarantine.jsonl")}
    assert set(quarantine) == {41, 42, 43, 44}
    assert quarantine[42]["origin_file"] == "docs.jsonl" and "docs.jsonl:4" in quarantine[42]["detail"]

    train, heldout = _rows(tmp_path / "out" / "train.jsonl"), _rows(tmp_path / "out" / "heldout.jsonl")
    documents = _rows(tmp_path / "out" / "documents.jsonl")
    assert list(train[0]) == ["id", "text", "source", "origin", "group", "tokens"]
    assert all(row["tokens"] == counter.count(row["text"]) <= 64 for row in train)
    assert not any("<|im_end|>" in row["text"] for row in [*train, *heldout])
    for document in documents:
        rows = [row for row in train if row["group"] == document["group"]] or [
            row for row in heldout if row["group"] == document["group"]
        ]
        assert "".join(row["text"] for row in rows) == document["text"]
    assert {row["group"] for row in train}.isdisjoint(row["group"] for row in heldout)
    assert summary.tokens["train"] == sum(row["tokens"] for row in train)
    assert sum(summary.token_histogram.values()) == len(train)
    assert summary.sources["docs"]["tokens"] == summary.tokens["train"] + summary.tokens["heldout"]


def test_same_input_gives_the_same_bytes_in_another_process(tmp_path: Path, tokenizer_file: Path, corpus: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from llmops_assets_tests.data.conftest import build_reference_corpus; "
        "build_reference_corpus(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    subprocess.run([sys.executable, "-c", code, str(tokenizer_file), str(tmp_path)], env=environment, check=True)
    files = sorted(path.name for path in corpus.iterdir())
    assert files == ["documents.jsonl", "heldout.jsonl", "quarantine.jsonl", "train.jsonl"]
    for name in files:
        assert (corpus / name).read_bytes() == (tmp_path / name).read_bytes()


def test_language_reference_splits_by_topic_without_overlap(corpus: Path) -> None:
    assert overlap(corpus / "train.jsonl", corpus / "heldout.jsonl") == []
    assert len(_rows(corpus / "heldout.jsonl")) >= 5


def test_heldout_document_that_train_quotes_is_rejected(
    tmp_path: Path, tokenizer_file: Path, files_source: Callable[..., TextFilesSource]
) -> None:
    lines = [_line(_text(seed, 40), group=f"g{seed}") for seed in range(60)]
    first = build_corpus([files_source("a.jsonl", *lines)], SPEC, tokenizer_file, tmp_path / "a", tmp_path)
    assert "contained_in_train" not in first.quarantined
    victim = _rows(tmp_path / "a" / "heldout.jsonl")[0]
    keeper = _rows(tmp_path / "a" / "train.jsonl")[0]["group"]
    lines.append(_line(f"{_text(500, 150)} {victim['text']} {_text(501, 150)}", group=keeper))

    second = build_corpus([files_source("a.jsonl", *lines)], SPEC, tokenizer_file, tmp_path / "b", tmp_path)

    assert second.quarantined["contained_in_train"] == 1
    assert victim["id"] not in {row["id"] for row in _rows(tmp_path / "b" / "heldout.jsonl")}


def test_too_many_broken_lines_stop_the_build_with_file_counts_and_lines(
    tmp_path: Path, tokenizer_file: Path, files_source: Callable[..., TextFilesSource]
) -> None:
    source = files_source("docs.jsonl", *(_line(_text(seed)) for seed in range(5)), *['{"text": 1}'] * 3, "{")

    with pytest.raises(QuarantineLimitError) as caught:
        spec = SPEC.model_copy(update={"max_quarantined_share": 0.4})
        build_corpus([source], spec, tokenizer_file, tmp_path / "out", tmp_path)

    message = str(caught.value)
    assert "4 of 9 records (44.4%)" in message and "corpus.max_quarantined_share = 40.0%" in message
    assert "docs.jsonl (4)" in message and "wrong_type (3)" in message and "docs.jsonl:9: invalid_json" in message
    assert len(_rows(tmp_path / "out" / "quarantine.jsonl")) == 4
    assert not (tmp_path / "out" / "train.jsonl").exists()


def test_filtered_documents_do_not_count_as_malformed(
    tmp_path: Path, tokenizer_file: Path, files_source: Callable[..., TextFilesSource]
) -> None:
    lines = [_line(_text(seed)) for seed in range(4)] + [_line(f"Short {number}.") for number in range(30)]
    summary = build_corpus([files_source("docs.jsonl", *lines)], SPEC, tokenizer_file, tmp_path / "out", tmp_path)
    assert summary.counts["kept"] == 4 and summary.quarantined == {"too_short": 30}


def test_empty_corpus_is_an_error_with_the_counts_by_reason(
    tmp_path: Path, tokenizer_file: Path, files_source: Callable[..., TextFilesSource]
) -> None:
    source = files_source("docs.jsonl", *(_line(f"Short {number}.") for number in range(3)))
    with pytest.raises(EmptyCorpusError, match=r"read: docs 3; quarantined: too_short 3"):
        build_corpus([source], SPEC, tokenizer_file, tmp_path / "out", tmp_path)
    assert len(_rows(tmp_path / "out" / "quarantine.jsonl")) == 3


def test_file_without_lines_is_an_empty_corpus(
    tmp_path: Path, tokenizer_file: Path, files_source: Callable[..., TextFilesSource]
) -> None:
    with pytest.raises(EmptyCorpusError, match=r"read: nothing"):
        build_corpus([files_source("docs.jsonl")], SPEC, tokenizer_file, tmp_path / "out", tmp_path)


def test_single_document_cannot_be_split(
    tmp_path: Path, tokenizer_file: Path, files_source: Callable[..., TextFilesSource]
) -> None:
    with pytest.raises(EmptyCorpusError, match="nothing to hold out"):
        build_corpus([files_source("book.txt", _text(1))], SPEC, tokenizer_file, tmp_path / "out", tmp_path)


def test_id_that_is_taken_is_malformed(
    tmp_path: Path, tokenizer_file: Path, files_source: Callable[..., TextFilesSource]
) -> None:
    lines = [_line(_text(seed), id=f"doc{seed % 5}") for seed in range(6)]
    summary = build_corpus([files_source("docs.jsonl", *lines)], SPEC, tokenizer_file, tmp_path / "out", tmp_path)
    assert summary.quarantined == {"duplicate_id": 1} and summary.counts["malformed"] == 1


def test_missing_source_names_recipe_folder_key_and_pattern(tmp_path: Path, tokenizer_file: Path) -> None:
    source = TextFilesSource(name="notes", pattern="nowhere/*.jsonl")
    with pytest.raises(MissingSourceError, match=r"'notes'.*`pattern: nowhere/\*\.jsonl` matches no file") as caught:
        build_corpus([source], SPEC, tokenizer_file, tmp_path / "out", tmp_path)
    assert str(tmp_path) in str(caught.value)
