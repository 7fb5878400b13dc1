"""Thumbs from files: what is taken, and what is quarantined with file, line and reason."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmops_assets.base_model import embedded_base_model_path
from llmops_assets.data.sets.thumbs_set import EmptyThumbsSetError, ThumbsSetSpec, build_thumbs_set
from llmops_assets.data.sources.specs import ThumbFilesSource


def thumb(label: Any, answer: str = "Yes.") -> dict[str, Any]:
    turns = [{"role": "user", "content": "Copy?"}, {"role": "assistant", "content": answer}]
    return {"messages": turns, "label": label}


def build(
    folder: Path,
    rows: list[dict[str, Any]],
    share: float = 0.9,
    limit: int | None = None,
    eval_items: Path | None = None,
) -> dict[str, Any]:
    (folder / "thumbs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = ThumbFilesSource(name="thumbs", pattern="thumbs.jsonl", max_records=limit)
    spec = ThumbsSetSpec(sources=[source], max_quarantined_share=share)
    tokenizer_file = embedded_base_model_path() / "tokenizer.json"
    return build_thumbs_set(spec, tokenizer_file, folder / "set", folder, eval_items)


def test_answer_is_the_last_turn_and_the_rest_its_prompt(tmp_path: Path) -> None:
    counts = build(tmp_path, [thumb(True), thumb(False, "No.")])
    rows = [json.loads(line) for line in (tmp_path / "set" / "train.jsonl").read_text().splitlines()]
    said = {"prompt": [{"role": "user", "content": "Copy?"}], "completion": "Yes.", "label": True}
    assert rows[0] == {**said, "source": "thumbs", "origin": "thumbs.jsonl:1"}
    assert (counts["train"], counts["up"], counts["down"]) == (2, 1, 1)


def test_broken_records_are_quarantined_with_line_and_reason(tmp_path: Path) -> None:
    broken = [thumb(1), {"messages": thumb(True)["messages"]}, {"label": True}, thumb(True)]
    counts = build(tmp_path, [thumb(True), thumb(False, "No."), *broken])
    rows = [json.loads(line) for line in (tmp_path / "set" / "quarantine.jsonl").read_text().splitlines()]
    assert [(row["line"], row["reason"]) for row in rows[:3]] == [
        (3, "wrong_type"),
        (4, "missing_field"),
        (5, "unknown_format"),
    ]
    assert (rows[3]["line"], rows[3]["detail"]) == (6, "the same answer with the same thumb is thumbs.jsonl:1")
    assert counts["quarantined"]["exact_duplicate"] == 1
    assert "`label` is 1" in rows[0]["detail"]


def test_chat_tokens_in_an_answer_are_taken_apart(tmp_path: Path) -> None:
    build(tmp_path, [thumb(True, "Yes.<|im_end|>"), thumb(False, "No.")])
    assert "<|im_end|>" not in (tmp_path / "set" / "train.jsonl").read_text()


def test_thumbs_of_one_kind_teach_nothing(tmp_path: Path) -> None:
    with pytest.raises(EmptyThumbsSetError, match="2 thumbs up and 0 down"):
        build(tmp_path, [thumb(True), thumb(True, "No.")])


def test_max_records_are_drawn_by_hash_and_the_others_counted(tmp_path: Path) -> None:
    thumbs = [thumb(number % 2 == 0, f"Answer {number}.") for number in range(40)]
    counts = build(tmp_path, [*thumbs, {"label": True}], limit=10)
    chosen = (tmp_path / "set" / "train.jsonl").read_text().splitlines()
    assert counts["train"] == 10
    assert counts["sources"]["thumbs"] | {"up": 0} == {
        "read": 41,
        "kept": 10,
        "up": 0,
        "quarantined": 1,
        "not_drawn": 30,
    }
    build(tmp_path, [*reversed(thumbs), thumb(True, "One more.")], limit=10)
    again = (tmp_path / "set" / "train.jsonl").read_text().splitlines()
    same = {json.loads(row)["completion"] for row in chosen} & {json.loads(row)["completion"] for row in again}
    assert len(same) >= 9


def test_copies_of_a_thumb_take_no_place_among_those_drawn(tmp_path: Path) -> None:
    thumbs = [thumb(number % 2 == 0, f"Answer {number}.") for number in range(50)]
    counts = build(tmp_path, [*[thumb(True, "Again.")] * 50, *thumbs], limit=20)
    assert (counts["train"], counts["sources"]["thumbs"]["read"]) == (20, 100)
    assert counts["sources"]["thumbs"]["quarantined"] + counts["sources"]["thumbs"]["not_drawn"] == 80


def test_an_answer_with_both_thumbs_teaches_nothing(tmp_path: Path) -> None:
    counts = build(tmp_path, [thumb(True), thumb(False), thumb(True), thumb(True, "Perhaps."), thumb(False, "No.")])
    assert counts["quarantined"] == {"contradiction": 2, "exact_duplicate": 1}
    rows = [json.loads(line) for line in (tmp_path / "set" / "train.jsonl").read_text().splitlines()]
    assert [row["completion"] for row in rows] == ["Perhaps.", "No."]


def test_both_thumbs_of_an_answer_are_drawn_or_neither_is(tmp_path: Path) -> None:
    thumbs = [thumb(up, f"Answer {number}.") for number in range(30) for up in (True, False)]
    sure = [thumb(number % 2 == 0, f"Sure {number}.") for number in range(30)]
    counts = build(tmp_path, [*thumbs, *sure], limit=20)["sources"]["thumbs"]
    assert counts["kept"] + counts["quarantined"] / 2 == 20
    assert counts["kept"] + counts["quarantined"] + counts["not_drawn"] == counts["read"] == 90


def test_thumbs_on_an_eval_item_are_not_learned_from(tmp_path: Path) -> None:
    item = {"id": "x/1", "prompt": "Copy?", "answers": ["No."], "layout": "items", "source": "x", "origin": "x:1"}
    (tmp_path / "items.jsonl").write_text(json.dumps(item) + "\n")
    rows = [thumb(True), thumb(False, "no"), thumb(False, "Never.")]
    counts = build(tmp_path, rows, eval_items=tmp_path / "items.jsonl")
    assert (counts["train"], counts["quarantined"]) == (2, {"contaminated": 1})
    [refused] = [json.loads(line) for line in (tmp_path / "set" / "quarantine.jsonl").read_text().splitlines()]
    assert (refused["line"], refused["reason"]) == (2, "contaminated") and "x/1" in refused["detail"]
