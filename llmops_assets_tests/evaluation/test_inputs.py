import json
from pathlib import Path

import pytest

from llmops_assets.evaluation.inputs import BrokenInput, HeldoutDocument, HeldoutPair, HeldoutQuestion, read_rows


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_a_broken_row_is_named_by_file_and_line(tmp_path: Path):
    path = write(tmp_path / "rows.jsonl", {"id": "a", "text": "x"}, '{"id": "b"')
    with pytest.raises(BrokenInput, match=r"rows\.jsonl, line 2"):
        read_rows(path, HeldoutDocument)


def test_a_missing_key_is_named(tmp_path: Path):
    with pytest.raises(BrokenInput, match=r"line 1: rejected: Field required"):
        read_rows(
            write(tmp_path / "p.jsonl", {"pair_id": "1", "prompt": [{"role": "user", "content": "?"}], "chosen": "a"}),
            HeldoutPair,
        )


def test_an_id_that_comes_twice_names_both_lines(tmp_path: Path):
    path = write(tmp_path / "rows.jsonl", {"id": "a", "text": "x"}, {"id": "a", "text": "y"})
    with pytest.raises(BrokenInput, match=r"line 2: id 'a' is also on line 1"):
        read_rows(path, HeldoutDocument)


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_is_an_error_and_not_an_empty_measurement(tmp_path: Path, content: str):
    (tmp_path / "rows.jsonl").write_text(content)
    with pytest.raises(BrokenInput, match="holds no row"):
        read_rows(tmp_path / "rows.jsonl", HeldoutDocument)


def test_a_missing_file_says_what_to_do(tmp_path: Path):
    with pytest.raises(BrokenInput, match="materialize the data set"):
        read_rows(tmp_path / "none.jsonl", HeldoutDocument)


@pytest.mark.parametrize("roles", [["user"], ["assistant"], ["system", "assistant"]])
def test_a_question_needs_a_user_turn_before_its_answer(tmp_path: Path, roles: list[str]):
    row = {"id": "a", "messages": [{"role": role, "content": "x"} for role in roles]}
    with pytest.raises(BrokenInput, match="needs a user turn"):
        read_rows(write(tmp_path / "q.jsonl", row), HeldoutQuestion)


def test_the_question_is_everything_before_the_first_answer(tmp_path: Path):
    turns = [("system", "s"), ("user", "u"), ("assistant", "a"), ("user", "v"), ("assistant", "b")]
    row = {"id": "a", "messages": [{"role": role, "content": text} for role, text in turns], "source": "ignored"}
    (question,) = read_rows(write(tmp_path / "q.jsonl", row), HeldoutQuestion)
    assert [message.content for message in question.question] == ["s", "u"]
    assert question.reference == "a"
