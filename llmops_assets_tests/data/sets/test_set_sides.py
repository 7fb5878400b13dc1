"""Which side a conversation is on: per class, by fixed sides, and never beside one that gives it away."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from llmops_assets.data.evals.contamination import overlap
from llmops_assets.data.quarantine import Quarantine
from llmops_assets.data.records import Conversation, Message
from llmops_assets.data.sets.data_set import DataSetSummary
from llmops_assets.data.sets.set_sides import NoClassesError, split_conversations
from llmops_assets.data.sets.sft_set import build_sft_set
from llmops_assets.data.sources.specs import ConversationFilesSource
from llmops_assets.data.specs import SftSetSpec

CLASSES = {"closed_qa": 40, "brainstorming": 30, "creative_writing": 3}


def dolly(name: str, number: int, **keys: Any) -> str:
    question = f"About {name}, what is number {number}?"
    return json.dumps({"instruction": question, "context": "", "response": f"A {name} of {number}.", **keys})


def build(
    folder: Path, tokenizer_file: Path, source: ConversationFilesSource, **spec: Any
) -> tuple[DataSetSummary, list[dict[str, Any]], list[dict[str, Any]]]:
    summary = build_sft_set([source], SftSetSpec(**spec), None, tokenizer_file, folder / "out", folder)
    train, heldout = (
        [json.loads(line) for line in (folder / "out" / f"{side}.jsonl").read_text().splitlines()]
        for side in ("train", "heldout")
    )
    return summary, train, heldout


def test_val_per_class_holds_out_so_many_of_each_category_of_dolly_and_flags_small_ones(
    tmp_path: Path, tokenizer_file: Path, conversations_source: Callable[..., ConversationFilesSource]
) -> None:
    lines = [dolly(name, number, category=name) for name, count in CLASSES.items() for number in range(count)]
    source = conversations_source("dolly.jsonl", *lines)
    summary, train, heldout = build(tmp_path, tokenizer_file, source, val_per_class=5)
    assert Counter(row["class"] for row in heldout) == {"closed_qa": 5, "brainstorming": 5, "creative_writing": 3}
    assert Counter(row["class"] for row in train) == {"closed_qa": 35, "brainstorming": 25}
    assert summary.classes["creative_writing"] == {"train": 0, "heldout": 3} and summary.val_per_class == 5
    assert overlap(tmp_path / "out" / "train.jsonl", tmp_path / "out" / "heldout.jsonl") == []


def test_a_label_that_train_must_hold_too_is_no_leak_but_a_long_answer_is(
    tmp_path: Path, tokenizer_file: Path, conversations_source: Callable[..., ConversationFilesSource]
) -> None:
    labels = [
        json.dumps({"prompt": f"Is review {n} good?", "completion": ("yes", "no")[n % 2], "rating": n % 2})
        for n in range(40)
    ]
    source = conversations_source("reviews.jsonl", *labels).model_copy(update={"class_key": "rating"})
    summary, _, heldout = build(tmp_path, tokenizer_file, source, val_per_class=4)
    assert Counter(row["class"] for row in heldout) == {"0": 4, "1": 4} and summary.quarantined == {}
    assert overlap(tmp_path / "out" / "train.jsonl", tmp_path / "out" / "heldout.jsonl") == []

    answer = "The very same sentence of more than seven words."
    lines = [json.dumps({"prompt": f"Sum up text {n}.", "completion": answer, "class": "sum"}) for n in range(20)]
    lines += [dolly("qa", number, category="qa") for number in range(20)]
    summary, _, heldout = build(
        tmp_path, tokenizer_file, conversations_source("long.jsonl", *lines), val_per_class=4, max_examples=10
    )
    assert Counter(row["class"] for row in heldout) == {"qa": 4} and summary.quarantined == {"contained_in_train": 4}


@pytest.mark.parametrize(
    "answer",
    [
        "one two three four five six seven eight nine",
        "一二三四五六七八九十百千万上下左右前后东西南北春夏秋冬天地人日月山水火木金土大",
    ],
)
def test_a_long_answer_is_a_leak_in_every_script(
    tmp_path: Path, tokenizer_file: Path, conversations_source: Callable[..., ConversationFilesSource], answer: str
) -> None:
    lines = [
        json.dumps({"prompt": f"Question {n}?", "completion": answer if n < 20 else f"Number {n}.", "category": "a"})
        for n in range(40)
    ]
    source = conversations_source("chats.jsonl", *lines)
    summary, _, heldout = build(tmp_path, tokenizer_file, source, val_per_class=20)
    assert summary.quarantined["contained_in_train"] > 0
    assert answer not in {row["messages"][-1]["content"] for row in heldout}
    counts = summary.sources[source.name]
    assert counts["read"] == counts["kept"] + counts["quarantined"] + counts["not_drawn"] == 40


def test_a_record_without_the_named_class_is_quarantined(
    tmp_path: Path, tokenizer_file: Path, conversations_source: Callable[..., ConversationFilesSource]
) -> None:
    lines = [dolly("a", number, kind="a") for number in range(20)]
    source = conversations_source("rows.jsonl", *lines, dolly("b", 1), dolly("b", 2, kind=["x"]))
    source = source.model_copy(update={"class_key": "kind"})
    summary, _, _ = build(tmp_path, tokenizer_file, source, val_per_class=4)
    assert summary.quarantined == {"missing_field": 1, "wrong_type": 1}
    rows = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert "no `kind`, which class_key names" in rows[0]["detail"] and rows[0]["line"] == 21


def test_a_question_asked_in_nearly_the_same_words_never_straddles(
    tmp_path: Path, tokenizer_file: Path, conversations_source: Callable[..., ConversationFilesSource]
) -> None:
    def chat(number: int, polite: str = "") -> str:
        question, answer = (
            " ".join(f"{kind}{number}x{place}" for place in range(25)) for kind in ("q", f"a{len(polite)}")
        )
        return json.dumps({"prompt": f"{polite}Tell {question}", "completion": answer, "category": str(number)})

    lines = [chat(number) for number in range(60)] + [chat(number, "Please! ") for number in range(60)]
    source = conversations_source("chats.jsonl", *lines)
    limits = {"eval_share": 0.3, "max_tokens": 1024}
    _, train, heldout = build(tmp_path, tokenizer_file, source, **limits)
    asked = [{row["class"] for row in side} for side in (train, heldout)]
    assert asked[0] & asked[1], "without a threshold they do"

    summary, train, heldout = build(tmp_path, tokenizer_file, source, **limits, near_duplicate_threshold=0.8)
    asked = [{row["class"] for row in side} for side in (train, heldout)]
    assert not asked[0] & asked[1] and len(heldout) >= 10
    # Both went to one side, so that none was lost.
    assert summary.quarantined == {} and len(train) + len(heldout) == 120


def test_a_near_duplicate_on_a_side_that_is_fixed_leaves_eval() -> None:
    words = " ".join(f"word{number}" for number in range(30))
    rows = [
        Conversation(
            identity, (Message("user", question), Message("assistant", identity)), "s", "f:1", identity, "d", (None,)
        )
        for identity, question in (
            ("t", words),
            ("h", f"{words} again"),
            ("free", f"{words} once more"),
            ("o", "Else?"),
        )
    ]
    quarantine = Quarantine()
    spec = SftSetSpec(near_duplicate_threshold=0.8)
    sides = split_conversations(rows, {"t": "train", "h": "heldout"}, spec, quarantine)
    assert [c.id for c in sides.train] == ["t", "free", "o"] and sides.heldout == []
    assert [(r.reason, r.detail) for r in quarantine.records] == [
        ("contained_in_train", "the question is nearly that of t")
    ]


def test_a_set_without_any_class_cannot_be_split_per_class(
    tmp_path: Path, tokenizer_file: Path, conversations_source: Callable[..., ConversationFilesSource]
) -> None:
    source = conversations_source("rows.jsonl", *(dolly("a", number) for number in range(20)))
    with pytest.raises(NoClassesError, match="none of 20 conversations has a class; name its key"):
        build(tmp_path, tokenizer_file, source, val_per_class=4)


def test_eval_share_beside_val_per_class_is_refused() -> None:
    with pytest.raises(ValidationError, match="eval_share is not read with val_per_class"):
        SftSetSpec(val_per_class=5, eval_share=0.2)
