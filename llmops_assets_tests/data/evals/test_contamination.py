import json
from pathlib import Path
from typing import Any

from llmops_assets.data.evals.contamination import overlap

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"


def _write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _chat(identity: str, *turns: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    messages = [{"role": roles[index % 2], "content": turn} for index, turn in enumerate(turns)]
    return {"id": identity, "group": identity, "messages": messages}


def test_clean_split_has_no_overlap(tmp_path: Path) -> None:
    train = _write(tmp_path / "t", _chat("a", "What is a?", "A is one."), _chat("b", "What is b?", "B is two."))
    heldout = _write(tmp_path / "h", _chat("c", "What is c?", "C is three."))
    assert overlap(train, heldout) == []


def test_question_and_answer_of_any_train_turn_are_found(tmp_path: Path) -> None:
    train = _write(tmp_path / "t", _chat("a", "What is a?", "First  answer.", "And?", "Second."))
    heldout = _write(tmp_path / "h", _chat("b", "what is A?", "x"), _chat("c", "Other?", "first answer."))
    assert [(o.kind, o.heldout_id, o.train_id) for o in overlap(train, heldout)] == [
        ("question", "b", "a"),
        ("answer", "c", "a"),
    ]


def test_equal_ids_groups_and_texts_and_quotations_are_found(tmp_path: Path) -> None:
    train = _write(tmp_path / "t", {"id": "a", "group": "g", "text": f"before {LONG} after it"})
    heldout = _write(
        tmp_path / "h",
        {"id": "a", "group": "x", "text": "something"},
        {"id": "b", "group": "g", "text": "else"},
        {"id": "c", "group": "y", "text": f"Before {LONG}  after IT"},
        {"id": "d", "group": "z", "text": LONG},
    )
    assert [(o.kind, o.heldout_id) for o in overlap(train, heldout)] == [
        ("id", "a"),
        ("group", "b"),
        ("text", "c"),
        ("contained", "c"),
        ("contained", "d"),
    ]
