"""`llmops preview FILE`: the first records as they would come through the door, and why others would not."""

import gzip
import json
from pathlib import Path

from click.testing import CliRunner

from llmops_assets.cli import cli


def preview(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["preview", *(str(argument) for argument in arguments)])
    return result.exit_code, result.output


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


CHAT = {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So.", "weight": 0}] * 2}
CHAT["conversations"][3] = {"from": "gpt", "value": "Thus."}


def test_records_are_shown_as_they_are_read_and_rejected_ones_with_their_reason(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", CHAT, {"conversations": []}, {"instruction": "Add.", "output": "3"})
    code, said = preview(file)
    assert code == 0
    assert said.splitlines() == [
        f"{file}: for sft (it has conversations, as sharegpt)",
        "line 1, sharegpt",
        *("user:", "Why?", "assistant (weight 0):", "So.", "user:", "Why?", "assistant:", "Thus."),
        "line 2",
        "rejected, empty: `conversations` has no turns",
        '{"conversations":[]}',
        "line 3, alpaca",
        *("user:", "Add.", "assistant:", "3"),
        "3 records shown, 1 of them rejected",
    ]


def test_a_kind_and_a_layout_can_be_named_and_some_records_chosen(tmp_path: Path) -> None:
    rows = [{"question": f"{number}?", "answer": f"{number}!"} for number in range(9)]
    code, said = preview(write(tmp_path / "a.jsonl", *rows), "--first", 4, "-n", 2)
    assert code == 0 and "line 5, question_answer" in said and "line 6" in said and "line 7" not in said
    code, said = preview(tmp_path / "a.jsonl", "--as", "sft", "-n", 1)
    assert "for sft (as told)" in said and "rejected, unknown_format: keys are ['answer', 'question']" in said
    code, said = preview(tmp_path / "a.jsonl", "--format", "arena")
    assert code == 1 and "'arena' is no layout of records for eval" in said


def test_preferences_and_long_texts_are_legible(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", {"prompt": "Why?", "chosen": "a" * 1200, "rejected": "No."})
    _, said = preview(file)
    assert "chosen:\n" + "a" * 1000 + "\n... 200 more characters\nrejected:\nNo.\n" in said


def test_files_of_text_are_documents(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Title\n\nWords.\n")
    (tmp_path / "b.py.gz").write_bytes(gzip.compress(b"x = 1\n"))
    (tmp_path / "c.py").write_bytes(b"\0")
    assert "for corpus (by its suffix: Markdown)" in preview(tmp_path / "a.md")[1]
    assert "kind topic, title Title\n# Title\n\nWords.\n" in preview(tmp_path / "a.md")[1]
    assert "language Python" in preview(tmp_path / "b.py.gz", "--as", "corpus")[1]
    assert "rejected, binary: byte 0 is NUL" in preview(tmp_path / "c.py")[1]
    code, said = preview(tmp_path / "a.md", "--as", "preferences")
    assert code == 1 and "is a file of text, which holds documents for corpus or eval" in said


def test_neither_a_file_nor_an_asset_is_a_sentence(tmp_path: Path) -> None:
    code, said = preview(tmp_path / "nowhere.jsonl")
    assert code == 1 and "is no file; name a file, or a recipe and an asset" in said
    code, said = preview("python_docs", "sft_rows", "--as", "sft")
    assert code == 1 and "--as and --format are for files" in said
    code, said = preview(write(tmp_path / "a.csv"))
    assert code == 1 and "none of .jsonl" in said
