"""Differences between versions of a set: each kind of change is counted once, by source and split, and shown."""

import json
from pathlib import Path
from typing import Any

from llmops_assets.data.sets.set_difference import difference_text, set_differences


def write(folder: Path, **files: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return folder


def chat(identity: str, answer: str, source: str = "chats") -> dict[str, Any]:
    turns = [{"role": "user", "content": f"What is {identity}?"}, {"role": "assistant", "content": answer}]
    return {"id": identity, "messages": turns, "source": source, "tokens": 9}


def test_added_removed_changed_and_moved_conversations_are_told_apart(tmp_path: Path) -> None:
    same = [chat(f"s{number}", "Äpfel.") for number in range(50)]
    old = write(
        tmp_path / "old",
        train=[*same, chat("gone", "x"), chat("edited", "before"), chat("moved", "m"), chat("counted", "c")],
        heldout=[chat("h", "h")],
    )
    new = write(
        tmp_path / "new",
        train=[chat("new", "n", "extra"), {**chat("counted", "c"), "tokens": 10}, chat("edited", "after"), *same[::-1]],
        heldout=[chat("h", "h"), chat("moved", "m")],
    )
    [found] = set_differences(old, new)
    assert (found.unit, found.old, found.new) == ("rows", 55, 55)
    assert found.counts == {
        "added": {"extra, train": 1},
        "removed": {"chats, train": 1},
        "changed": {"chats, train": 1},
        "moved": {"chats, train to heldout": 1},
    }
    text = difference_text([found])
    assert text.startswith("rows: 55 -> 55; 1 added, 1 removed, 1 changed, 1 moved")
    assert "~ edited: What is edited? | before => edited: What is edited? | after" in text
    assert "+ new: What is new? | n" in text
    assert set_differences(new, new)[0].is_empty


def test_a_corpus_is_compared_by_documents_and_by_chunks(tmp_path: Path) -> None:
    def document(identity: str, text: str, split: str = "train") -> dict[str, Any]:
        return {"id": identity, "text": text, "source": "docs", "split": split}

    old = write(
        tmp_path / "old",
        documents=[document("a", "A"), document("b", "B")],
        train=[{"id": "a", "text": "A"}],
        heldout=[],
    )
    new = write(
        tmp_path / "new",
        documents=[document("a", "A2"), document("b", "B", "heldout"), document("c", "C")],
        train=[{"id": "a~1", "text": "A"}, {"id": "a~2", "text": "2"}],
        heldout=[document("b", "B")],
    )
    documents, chunks = set_differences(old, new)
    assert documents.counts["changed"] == {"docs, train": 1} and documents.counts["added"] == {"docs, train": 1}
    assert documents.counts["moved"] == {"docs, train to heldout": 1}
    # "A" has another id, and is the same chunk.
    assert (chunks.total("added"), chunks.total("removed"), chunks.total("changed")) == (1, 0, 0)


def test_a_line_put_in_before_others_changes_no_row_but_its_own(tmp_path: Path) -> None:
    def rows(*texts: str) -> list[dict[str, Any]]:
        return [
            {"id": f"docs/a.jsonl:{number}", "text": text, "source": "docs", "split": "train"}
            for number, text in enumerate(texts, start=1)
        ]

    texts = [f"Text {number}." for number in range(50)]
    old = write(tmp_path / "old", documents=rows(*texts, "twice", "twice"))
    new = write(tmp_path / "new", documents=rows("first", *texts, "twice"))
    documents, _ = set_differences(old, new)
    assert documents.counts["added"] == documents.counts["removed"] == {"docs, train": 1}
    assert documents.total("changed") == documents.total("moved") == 0
    assert documents.examples["added"] == ["docs/a.jsonl:1: first"]
    assert documents.examples["removed"] == ["docs/a.jsonl:52: twice"]


def test_a_pair_whose_preference_turned_and_a_thumb_that_did_have_changed(tmp_path: Path) -> None:
    prompt = [{"role": "user", "content": "Why?"}]
    vote = {"prompt": prompt, "chosen": [{"role": "assistant", "content": "So."}], "rejected": "No."}
    old = write(tmp_path / "old", train=[vote], heldout=[])
    new = write(tmp_path / "new", train=[{"prompt": prompt, "chosen": "No.", "rejected": "So."}], heldout=[])
    [found] = set_differences(old, new)
    assert found.counts["changed"] == {"votes, train": 1} and found.total("added") == 0

    thumb = {"prompt": prompt, "completion": "So.", "label": True, "source": "app", "origin": "a:1"}
    old = write(tmp_path / "up", train=[thumb])
    new = write(tmp_path / "down", train=[{**thumb, "label": False, "origin": "a:2"}])
    assert set_differences(old, new)[0].counts["changed"] == {"app, train": 1}


def test_examples_are_few_short_and_the_same_each_time(tmp_path: Path) -> None:
    old = write(tmp_path / "old", train=[], heldout=[])
    new = write(tmp_path / "new", train=[chat(f"c{number}", "long " * 500) for number in range(200)], heldout=[])
    [found] = set_differences(old, new, examples=4)
    assert found.total("added") == 200 and len(found.examples["added"]) == 4
    assert all(len(example) < 200 for example in found.examples["added"])
    assert set_differences(old, new, examples=4)[0].examples == found.examples
