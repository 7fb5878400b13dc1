"""Eval sets from files and from the hub: read whole, each item once, what cannot be used quarantined with its place."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from llmops_assets.data.evals.eval_sets import EmptyEvalSetError, EvalSetsSpec, build_eval_sets, read_items
from llmops_assets.data.quarantine import QuarantineLimitError
from llmops_assets.data.sources.specs import EvalFilesSource, HubEvalSource
from llmops_assets_tests.data.formats.test_eval_items import PUBLIC

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def write(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def build(folder: Path, *names: str, share: float = 0.9) -> dict[str, Any]:
    sources = [EvalFilesSource(name=Path(name).name.partition(".")[0], pattern=name, license="MIT") for name in names]
    return build_eval_sets(EvalSetsSpec(sources=list(sources), max_quarantined_share=share), folder / "out", folder)


def test_sets_in_many_layouts_are_one_list_of_items(tmp_path: Path) -> None:
    lines = "".join(json.dumps(case[1]) + "\n" for case in PUBLIC)
    (tmp_path / "all.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "page.md").write_text("# Title\n\nWords to be surprised by.\n", encoding="utf-8")
    summary = build(tmp_path, "all.jsonl.gz", "page.md")
    items = list(read_items(tmp_path / "out" / "items.jsonl"))
    # HumanEval+ has the ids of HumanEval, the sanitized MBPP those of MBPP; and two layouts ask the same question.
    assert summary["quarantined"] == {"duplicate_id": 2, "exact_duplicate": 1}
    assert summary["items"] == {"all": len(PUBLIC) - 3, "page": 1}
    assert summary["formats"]["page"] == {"text": 1}
    assert len(items) == len(PUBLIC) - 2
    assert (items[0].id, items[0].layout, items[0].origin) == ("all/HumanEval/0", "humaneval", "all.jsonl.gz:1")
    assert items[-1].answers == ("# Title\n\nWords to be surprised by.",)
    assert summary["licenses"] == {"all": "MIT", "page": "MIT"} and len(summary["source_hashes"]["all"]) == 64


def test_the_same_input_gives_the_same_bytes_and_nothing_is_lost(tmp_path: Path) -> None:
    good = [{"question": f"What is {number}?", "answer": str(number)} for number in range(20)]
    write(tmp_path / "a.jsonl", *good, good[3], {"question": "?"}, {**good[4], "id": "x"}, {**good[5], "id": "x"})
    build(tmp_path, "a.jsonl")
    first = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    build(tmp_path, "a.jsonl")
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == first
    refused = [json.loads(line) for line in first["quarantine.jsonl"].splitlines()]
    assert [(row["line"], row["reason"]) for row in refused] == [
        (21, "exact_duplicate"),
        (22, "unknown_format"),
        (23, "exact_duplicate"),
        (24, "exact_duplicate"),
    ]
    assert first["items.jsonl"].count(b"\n") == 20


def test_a_source_without_items_and_a_broken_one_stop_the_build(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl")
    with pytest.raises(EmptyEvalSetError, match=r"source 'a' of eval_sets holds no item .* \(0 records read"):
        build(tmp_path, "a.jsonl")
    write(tmp_path / "b.jsonl", {"question": "?", "answer": "!"}, {"question": "?"})
    with pytest.raises(QuarantineLimitError, match=r"b\.jsonl:2: unknown_format.*\n.*eval_sets\.max_quarantined_share"):
        build(tmp_path, "b.jsonl", share=0.05)


def test_what_is_kept_of_a_set_with_blank_answers_can_be_read(tmp_path: Path) -> None:
    blank = ({"document": "d", "schema": {}, "answer": ""}, {"question": "Why?", "answer": "\x01"})
    write(tmp_path / "a.jsonl", {"question": "Why?", "answer": "So."}, *blank)
    assert build(tmp_path, "a.jsonl")["quarantined"] == {"empty": 2}
    assert [item.answers for item in read_items(tmp_path / "out" / "items.jsonl")] == [("So.",)]


def test_a_set_of_the_hub_is_read_from_its_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mmlu").mkdir()
    write(tmp_path / "mmlu" / "test.jsonl", {"question": "Which?", "choices": ["a", "b"], "answer": 1})
    write(tmp_path / "mmlu" / "train.jsonl", {"question": "Whose?", "choices": ["a", "b"], "answer": 1})
    spec = EvalSetsSpec(sources=[HubEvalSource(name="mmlu", dataset="./mmlu")])
    assert build_eval_sets(spec, tmp_path / "out", tmp_path)["items"] == {"mmlu": 1}
    [item] = read_items(tmp_path / "out" / "items.jsonl")
    assert (item.texts(), item.origin) == (["Which?\nb"], "./mmlu/test:1")


def test_an_eval_set_is_used_whole() -> None:
    with pytest.raises(ValidationError, match="max_records is not for eval sets, which are used whole; remove it"):
        HubEvalSource.model_validate({"name": "mmlu", "dataset": "./mmlu", "max_records": 5})


def test_humaneval_is_164_functions() -> None:
    if not (SHARED / "HumanEval.jsonl.gz").is_file():
        pytest.skip("the public samples are not beside this checkout")
    from llmops_assets.data.evals.eval_sets import read_eval_source

    source = EvalFilesSource(name="humaneval", pattern=str(SHARED / "HumanEval.jsonl.gz"))
    items = list(read_eval_source(source, SHARED))
    assert len(items) == 164
    assert all(not hasattr(item, "reason") for item in items)
