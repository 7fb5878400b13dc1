"""Each stage of the pipeline by what it does to a whole corpus."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from llmops_assets.data.corpus.building import EmptyCorpusError, build_corpus
from llmops_assets.data.duplicates.bands import BandArray
from llmops_assets.data.duplicates.dedup import SHINGLE_WORDS, band_rows, compare
from llmops_assets.data.duplicates.minhash import band_keys
from llmops_assets.data.duplicates.shingles import shingle_hashes
from llmops_assets.data.formats.eval_items import EvalItem
from llmops_assets.data.jsonl import write_jsonl
from llmops_assets.data.records import Message
from llmops_assets.data.sets.data_set import DataSetSummary
from llmops_assets.data.sources.specs import TextFilesSource
from llmops_assets.data.specs import CorpusSpec
from llmops_assets.data.tokens import TokenCounter
from llmops_assets.data.workers import Processes, ThisProcess, Workers

Files = Callable[..., TextFilesSource]
WORDS = [f"{start}{end}" for start in ("ba", "ce", "di", "fo", "gu", "ha") for end in "bcdfghklmnprstvwz"]
ENGLISH = "The house by the river was built when there was no bridge, and people went across by boat. It is a museum."
GERMAN = "Das Haus am Fluss wurde gebaut, als es noch keine Brücke gab. Heute steht es leer."
CODE = "def f(x):\n    return [y * 2 for y in x if y > 3]\n\n\nclass A:\n    b = {1: 'c'}\n\n\nprint(A.b[f([4])[0]])"


def _text(seed: int, length: int = 60) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length)).capitalize() + "."


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _built(
    sources: list[TextFilesSource], tokenizer_file: Path, folder: Path, **keys: object
) -> tuple[DataSetSummary, dict[str, list[dict[str, Any]]]]:
    spec = CorpusSpec.model_validate({"min_words": 5, "heldout_share": 0.2, "chunk_tokens": 64, **keys})
    summary = build_corpus(sources, spec, tokenizer_file, folder / "out", folder)
    names = ("train", "heldout", "documents", "quarantine")
    return summary, {name: _rows(folder / "out" / f"{name}.jsonl") for name in names}


def _lines(texts: list[str]) -> list[str]:
    return [json.dumps({"text": text, "id": str(number)}, ensure_ascii=False) for number, text in enumerate(texts)]


def test_other_languages_are_left_out_and_code_has_none(
    tmp_path: Path, tokenizer_file: Path, files_source: Files
) -> None:
    texts = [f"{ENGLISH} {_text(n, 8)}" for n in range(6)] + [GERMAN, CODE]
    source = files_source("docs.jsonl", *_lines(texts))
    summary, rows = _built([source], tokenizer_file, tmp_path, languages=["en"], min_language_probability=0.7)
    [foreign] = rows["quarantine"]
    assert foreign["reason"] == "language" and foreign["line"] == 7 and "language is de" in foreign["detail"]
    assert summary.languages["en"] == 6 and summary.languages["de"] == 1 and summary.languages["none"] == 1
    assert any(row["text"] == CODE for row in rows["documents"])


def test_personal_data_is_masked_or_its_documents_are_dropped(
    tmp_path: Path, tokenizer_file: Path, files_source: Files
) -> None:
    texts = [_text(n) for n in range(6)]
    texts[2] += " Write to jane@uni-bonn.de or jane@uni-bonn.de."
    source = files_source("docs.jsonl", *_lines(texts))

    summary, rows = _built([source], tokenizer_file, tmp_path)
    assert "jane@uni-bonn.de" in json.dumps(rows["documents"]) and not summary.masked

    summary, rows = _built([source], tokenizer_file, tmp_path, pii="mask")
    assert summary.masked == {"EMAIL": 2}
    assert rows["documents"][2]["text"].endswith("Write to <EMAIL_1> or <EMAIL_1>.")
    assert not any("jane@" in path.read_text() for path in (tmp_path / "out").iterdir())

    summary, rows = _built([source], tokenizer_file, tmp_path, pii="drop")
    [dropped] = rows["quarantine"]
    assert dropped["reason"] == "personal_data" and dropped["detail"] == "holds 2 EMAIL" and dropped["line"] == 3
    assert summary.counts["kept"] == 5 and not summary.masked
    assert not any("jane@" in path.read_text() for path in (tmp_path / "out").iterdir())


def test_documents_that_are_alike_are_on_one_side(tmp_path: Path, tokenizer_file: Path, files_source: Files) -> None:
    texts = [_text(n, 100) for n in range(40)]
    for number in range(40):
        words = texts[number].split()
        words[30], words[60] = "changed", "altered"
        texts.append(" ".join([*words, "and", "some", "more", "at", "the", "end", "of", "it"]))
    source = files_source("docs.jsonl", *_lines(texts))
    summary, rows = _built([source], tokenizer_file, tmp_path, cluster_similarity=0.6)
    split = {row["id"]: row["split"] for row in rows["documents"]}
    assert not rows["quarantine"] and summary.counts["groups"] == 80 and summary.counts["clusters"] == 40
    assert all(split[f"docs/{n}"] == split[f"docs/{n + 40}"] for n in range(40))
    _, rows = _built([source], tokenizer_file, tmp_path, cluster_similarity=0.8)
    split = {row["id"]: row["split"] for row in rows["documents"]}
    assert {row["reason"] for row in rows["quarantine"]} == {"contained_in_train"}


def test_sources_are_balanced_by_tokens_and_what_is_beyond_is_quarantined(
    tmp_path: Path, tokenizer_file: Path, files_source: Files
) -> None:
    large = files_source("large.jsonl", *_lines([_text(n) for n in range(80)]))
    small = files_source("small.jsonl", *_lines([_text(1000 + n) for n in range(20)]))
    _, all_rows = _built([large, small], tokenizer_file, tmp_path)
    summary, rows = _built([large, small], tokenizer_file, tmp_path, max_source_share=0.5)
    tokens = {name: sum(r["tokens"] for r in rows["train"] if r["source"] == name) for name in ("large", "small")}
    assert tokens["small"] == sum(row["tokens"] for row in all_rows["train"] if row["source"] == "small")
    assert 0.45 < tokens["large"] / sum(tokens.values()) <= 0.5
    assert rows["heldout"] == all_rows["heldout"]
    assert set(summary.quarantined) == {"beyond_share"} and summary.counts["malformed"] == 0
    assert len(rows["quarantine"]) + len(rows["documents"]) == 100
    assert summary.counts["clusters"] == summary.counts["groups"] == len(rows["documents"])
    assert {row["group"] for row in rows["train"]} == {d["group"] for d in rows["documents"] if d["split"] == "train"}
    assert all("large may have of" in row["detail"] for row in rows["quarantine"])


def test_chunks_overlap_inside_a_document_and_never_beyond_it(
    tmp_path: Path, tokenizer_file: Path, files_source: Files, counter: TokenCounter
) -> None:
    texts = [". ".join(_text(100 * n + part, 12) for part in range(9)) for n in range(8)]
    source = files_source("docs.jsonl", *_lines(texts))
    _, plain = _built([source], tokenizer_file, tmp_path)
    _, rows = _built([source], tokenizer_file, tmp_path, chunk_overlap=16)
    assert len(rows["train"]) > len(plain["train"])
    before = None
    for row in rows["train"]:
        assert row["tokens"] == counter.count(row["text"]) <= 64
        document = next(d for d in rows["documents"] if d["group"] == row["group"])
        assert row["text"] in document["text"]
        if before and before["group"] == row["group"]:
            shared = next(n for n in range(len(row["text"]), -1, -1) if before["text"].endswith(row["text"][:n]))
            assert 0 < counter.count(row["text"][:shared].strip()) <= 16
        before = row


def test_personal_data_is_in_no_title_and_no_excerpt_of_what_was_rejected(
    tmp_path: Path, tokenizer_file: Path, files_source: Files
) -> None:
    (tmp_path / "page.md").write_text(f"# Ask jane@uni-bonn.de\n\n{_text(50)}\n")
    lines = [
        *_lines([_text(n) for n in range(6)]),
        json.dumps({"text": "Ask joe@uni-bonn.de now. " + _text(9), "id": "3"}),
    ]
    sources = [files_source("docs.jsonl", *lines), TextFilesSource(name="pages", pattern="page.md")]
    _, rows = _built(sources, tokenizer_file, tmp_path, pii="mask")
    assert [d["metadata"]["title"] for d in rows["documents"] if d["metadata"]] == ["Ask <EMAIL_1>"]
    assert [(row["reason"], row["excerpt"][:15]) for row in rows["quarantine"]] == [("duplicate_id", "Ask <EMAIL_1> n")]


@pytest.mark.parametrize("pii", ["mask", "drop"])
def test_no_value_is_stored_where_an_excerpt_is_cut(
    tmp_path: Path, tokenizer_file: Path, files_source: Files, pii: str
) -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA7\n" * 20 + "-----END RSA PRIVATE KEY-----"
    broken = [f'{{"text": "{key!r}', f'{{"text": "{"word " * 28} jane@uni-bonn.de']
    taken = [json.dumps({"text": key + _text(9), "id": "3"}), json.dumps({"text": _text(8), "id": "3"})]
    source = files_source("docs.jsonl", *_lines([_text(n) for n in range(6)]), *broken, *taken)
    _built([source], tokenizer_file, tmp_path, pii=pii, max_quarantined_share=1.0)
    stored = "".join(path.read_text() for path in (tmp_path / "out").iterdir())
    assert "MIIE" not in stored and "jane" not in stored


def test_names_that_hold_a_value_are_masked_and_stay_different(
    tmp_path: Path, tokenizer_file: Path, files_source: Files
) -> None:
    names = [f"{name}@uni-bonn.de" for name in ("jane", "joe", "jim")]
    lines = [json.dumps({"text": _text(n), "id": name, "group": name}) for n, name in enumerate(names)]
    source = files_source("docs.jsonl", *lines, *_lines([_text(n) for n in range(10, 20)]))
    _, rows = _built([source], tokenizer_file, tmp_path, pii="mask")
    assert not any("@uni" in path.read_text() for path in (tmp_path / "out").iterdir())
    assert len({row["id"] for row in rows["documents"]}) == len({row["group"] for row in rows["documents"]}) == 13
    assert _built([source], tokenizer_file, tmp_path, pii="mask")[1] == rows


def test_caps_that_leave_nothing_to_train_on_are_an_error_that_names_them(
    tmp_path: Path, tokenizer_file: Path, files_source: Files
) -> None:
    source = files_source("docs.jsonl", *_lines([_text(n) for n in range(20)]))
    with pytest.raises(EmptyCorpusError, match=r"nothing to train on.*beyond_share.*max_source_tokens"):
        _built([source], tokenizer_file, tmp_path, max_source_tokens=3)


def test_similar_pages_are_related_by_as_few_pairs_as_connect_them() -> None:
    chance = random.Random(1)
    common = chance.choices(WORDS, k=300)
    texts = [" ".join(common + [f"{n}x{k}" for k in range(60)]) for n in range(30)]
    keys = np.concatenate([band_keys(batch, band_rows(0.8)) for batch in shingle_hashes(texts, SHINGLE_WORDS)])
    found = compare(BandArray(keys), lambda numbers: [texts[number] for number in numbers], 0.8, 0.5)
    assert not found.duplicates and len(found.related) == 29


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"chunk_tokens": 64, "chunk_overlap": 33}, "chunk_overlap must be at most half of chunk_tokens"),
        ({"near_duplicate_threshold": 0.7, "cluster_similarity": 0.8}, "at most near_duplicate_threshold"),
        ({"languages": ["english"]}, "languages"),
        ({"languages": []}, "languages"),
        ({"phone_region": "Germany"}, "phone_region"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CorpusSpec.model_validate(keys)


@pytest.mark.parametrize("workers", [ThisProcess(), Processes(2)])
def test_documents_of_train_that_hold_an_eval_item_are_left_out_and_others_not(
    tmp_path: Path, tokenizer_file: Path, files_source: Files, workers: Workers
) -> None:
    texts = [_text(n) for n in range(60)]
    source = files_source("docs.jsonl", *_lines(texts))
    _, before = _built([source], tokenizer_file, tmp_path)
    asked, known = (next(d for d in before["documents"] if d["split"] == side) for side in ("train", "heldout"))
    items = tmp_path / "items.jsonl"
    quotes = {"a": asked["text"].split()[10:40], "b": known["text"].split()[10:40]}
    made = [
        EvalItem(name, (Message("user", " ".join(words)),), ("yes",), "messages", source="own", origin="own.jsonl:1")
        for name, words in quotes.items()
    ]
    write_jsonl(items, (item.to_row() for item in made))

    spec = CorpusSpec(min_words=5, heldout_share=0.2, chunk_tokens=64)
    summary = build_corpus([source], spec, tokenizer_file, tmp_path / "out", tmp_path, items, workers)

    assert summary.quarantined == {"contaminated": 1}
    [entry] = _rows(tmp_path / "out" / "quarantine.jsonl")
    assert asked["origin"] == f"docs.jsonl:{entry['line']}" and "holds eval item a" in entry["detail"]
    assert _rows(tmp_path / "out" / "heldout.jsonl") == before["heldout"]
    assert not any(row["group"] == asked["group"] for row in _rows(tmp_path / "out" / "train.jsonl"))


def test_of_an_empty_corpus_the_key_is_named_that_left_most_out(
    tmp_path: Path, tokenizer_file: Path, files_source: Files
) -> None:
    source = files_source("docs.jsonl", *_lines([GERMAN, f"{GERMAN} Es ist ein Museum.", "Kurz."]))
    with pytest.raises(EmptyCorpusError, match=r"language 2.*Check the recipe's corpus.languages") as empty:
        _built([source], tokenizer_file, tmp_path, languages=["en"])
    assert "min_words" not in str(empty.value)
