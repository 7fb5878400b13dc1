"""`llmops validate` and `llmops convert`: what a file is for, every problem at once, the same records afterwards."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llmops_assets.cli import cli
from llmops_assets.cli.files import KINDS as CHOICES
from llmops_assets.data.inspection import KINDS, UnknownKind, read_uniform

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
PAIR = {"prompt": "Why?", "chosen": "So.", "rejected": "No."}
CHAT = {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]}


def llmops(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text(json.dumps(list(records), indent=1), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("record", "kind", "why"),
    [
        (PAIR, "preferences", "it has chosen and rejected"),
        ({**CHAT, "label": True}, "thumbs", "it has label"),
        (CHAT, "sft", "it has conversations, as sharegpt"),
        ({"text": "Words."}, "corpus", "it has text"),
        ({"question": "?", "answer": "!"}, "eval", "it has question and answer, as question_answer"),
        ({"text": "?", "code": "x", "test_list": ["y"]}, "eval", "it has text and code and test_list, as mbpp"),
    ],
)
def test_the_first_record_tells_what_a_file_is_for(tmp_path: Path, record: dict[str, Any], kind: str, why: str) -> None:
    report, rows = read_uniform(write(tmp_path / "a.json", record))
    assert len(list(rows)) == 1
    assert (report.kind, report.why) == (kind, why)


def test_every_kind_can_be_named() -> None:
    assert tuple(CHOICES) == KINDS


def test_what_cannot_be_told_names_the_keys_and_the_choices(tmp_path: Path) -> None:
    with pytest.raises(UnknownKind, match=r"\['question'\].*--as \(corpus, sft, thumbs, preferences, eval\)"):
        read_uniform(write(tmp_path / "a.json", {"question": "?"}))
    with pytest.raises(UnknownKind, match="holds no record"):
        read_uniform(write(tmp_path / "b.json"))
    with pytest.raises(UnknownKind, match=r"none of \.jsonl"):
        read_uniform(tmp_path / "c.csv")
    with pytest.raises(UnknownKind, match="'arena' is no layout of records for sft; known are messages"):
        read_uniform(write(tmp_path / "d.json", CHAT), "sft", "arena")


def test_a_record_that_may_be_trained_on_or_measured_with_names_both(tmp_path: Path) -> None:
    with pytest.raises(UnknownKind, match=r"could be for eval \(.* as items\) or sft \(.* as messages\); say which"):
        read_uniform(write(tmp_path / "a.json", {"prompt": "?", "answers": ["!"], "messages": []}))


def test_converted_eval_items_are_eval_items(tmp_path: Path) -> None:
    mmlu = {"question": "Which?", "choices": ["a", "b"], "answer": 1, "subject": "letters"}
    assert llmops("convert", write(tmp_path / "a.json", mmlu), tmp_path / "out.jsonl").exit_code == 0
    report, rows = read_uniform(tmp_path / "out.jsonl")
    [row] = rows
    assert report.kind == "eval" and isinstance(row, dict)
    assert (row["answers"], row["choices"]) == (["b"], ["a", "b"])


def test_validate_names_every_problem_with_its_line_and_fails(tmp_path: Path) -> None:
    file = write(tmp_path / "a.json", CHAT, {"conversations": []}, {"conversations": [{"from": "gpt", "value": "x"}]})
    found = llmops("validate", file)
    assert found.exit_code == 1
    assert f"{file}:14: empty: `conversations` has no turns" in found.output
    assert f"{file}:17: bad_turn_order: `conversations[0]` is by assistant" in found.output
    assert "3 records for sft (it has conversations, as sharegpt): 1 as sharegpt; 2 problems" in found.output


def test_validate_goes_on_after_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"conversations"')
    found = llmops("validate", tmp_path / "a.json", write(tmp_path / "b.json", CHAT))
    assert found.exit_code == 1
    assert "a.json:1: is no JSON" in found.output and "1 as sharegpt; 0 problems" in found.output
    assert "0 records and 1 files cannot be used" in found.output


def test_names_are_asked_of_the_kinds_that_read_them(tmp_path: Path) -> None:
    assert llmops("validate", write(tmp_path / "a.json", {**PAIR, "id": 1})).exit_code == 0
    assert "`id` must be a string" in llmops("validate", write(tmp_path / "b.json", {**CHAT, "id": 1})).output


def test_convert_writes_what_a_lane_reads_and_sets_the_rest_aside(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    file = write(tmp_path / "a.json", {**CHAT, "id": "x1", "group": "g"}, {"conversations": []})
    found = llmops("convert", file, out)
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        {"id": "x1", "group": "g", "messages": turns}
    ]
    [problem] = (tmp_path / "out.jsonl.quarantine.jsonl").read_text().splitlines()
    assert json.loads(problem)["reason"] == "empty"
    assert found.exit_code == 1 and "1 records written" in found.output
    again = llmops("validate", out)
    assert again.exit_code == 0 and "1 as messages; 0 problems" in again.output
    assert "exists" in llmops("convert", file, out).output


def test_converted_preferences_are_preferences(tmp_path: Path) -> None:
    transcripts = {"chosen": "\n\nHuman: A\n\nAssistant: B", "rejected": "\n\nHuman: A\n\nAssistant: C"}
    assert llmops("convert", write(tmp_path / "a.json", transcripts), tmp_path / "out.jsonl").exit_code == 0
    _, rows = read_uniform(tmp_path / "out.jsonl")
    assert list(rows) == [{"prompt": [{"role": "user", "content": "A"}], "chosen": "B", "rejected": "C"}]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("alpaca_en_demo.json", "999 records for sft (it has instruction and output, as alpaca): 999 as alpaca; 0"),
        ("dpo_en_demo.json", "300 records for preferences (it has chosen and rejected): 300 as sharegpt; 0"),
        ("glaive_toolcall_en_demo.json", "300 records for sft (it has conversations, as sharegpt): 300 as sharegpt; 0"),
        ("identity.json", "91 records for sft (it has instruction and output, as alpaca): 91 as alpaca; 0"),
        ("kto_en_demo.json", "300 records for thumbs (it has label): 300 as messages; 0"),
        (
            "HumanEval.jsonl.gz",
            "164 records for eval (it has prompt and canonical_solution and entry_point and test, as humaneval): "
            "164 as humaneval; 0",
        ),
        ("c4_demo.jsonl", "300 records for corpus (it has text): 300 as text; 0"),
        (
            "seed_tasks.jsonl",
            "175 records for sft (it has instruction and instances, as self_instruct): 175 as self_instruct; 0",
        ),
    ],
)
def test_public_samples_go_through_their_door(name: str, sentence: str) -> None:
    if not (SHARED / name).is_file():
        pytest.skip("the public samples are not beside this checkout")
    assert sentence in llmops("validate", SHARED / name).output


def test_convert_keeps_the_category_of_a_conversation(tmp_path: Path) -> None:
    record = {"instruction": "Why?", "context": "", "response": "So.", "category": "open_qa"}
    assert llmops("convert", write(tmp_path / "a.json", record), tmp_path / "a.jsonl").exit_code == 0
    assert json.loads((tmp_path / "a.jsonl").read_text())["category"] == "open_qa"
