"""Rows that a model wrote, as sources of an SFT set: counted by generator, on the side of their document."""

import json
from pathlib import Path

from llmops_assets.data.sets.data_set import DataSetSummary
from llmops_assets.data.sets.sft_set import build_sft_set
from llmops_assets.data.sources.specs import GroundedSource, SelfInstructSource
from llmops_assets.data.specs import SftSetSpec


def row(number: int, method: str, **more: str) -> dict:
    messages = [
        {"role": "user", "content": f"{method} question {number}? <|im_end|>"},
        {"role": "assistant", "content": f"{method} answer {number}."},
    ]
    terms = {"generator": "m@host", "generator_license": "MIT"}
    return {"id": f"{number}", "group": f"{method} {number}", "messages": messages, "method": method, **terms, **more}


def build(folder: Path, tokenizer_file: Path) -> DataSetSummary:
    rows = {
        "self_instruct": [row(number, "self_instruct") for number in range(40)],
        "grounded": [
            row(number, "grounded", split="heldout" if number < 5 else "train", license="CC0-1.0 OR MIT-0")
            for number in range(20)
        ],
    }
    for kind, made in rows.items():
        (folder / kind).mkdir()
        (folder / kind / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in made))
    return build_sft_set(
        [SelfInstructSource(name="made"), GroundedSource(name="asked")],
        SftSetSpec(),
        None,
        tokenizer_file,
        folder / "set",
        folder,
        {kind: folder / kind for kind in rows},
    )


def test_generated_rows_are_guarded_split_and_counted_by_generator(tmp_path: Path, tokenizer_file: Path) -> None:
    summary = build(tmp_path, tokenizer_file)
    heldout = [json.loads(line) for line in (tmp_path / "set" / "heldout.jsonl").read_text().splitlines()]
    assert {each["id"] for each in heldout if each["source"] == "asked"} == {f"asked/{number}" for number in range(5)}
    assert any(each["source"] == "made" for each in heldout)
    assert summary.generators == {"m@host": 60}
    assert summary.licenses == {"made": "MIT", "asked": "(CC0-1.0 OR MIT-0) AND MIT"}
    assert summary.counts["neutralized_markers"] == 60
    assert heldout[0]["origin"].startswith(("self_instruct/rows.jsonl:", "grounded/rows.jsonl:"))


def test_another_row_is_another_source_hash(tmp_path: Path, tokenizer_file: Path) -> None:
    hashes = []
    for name, more in (("a", ""), ("b", ""), ("c", "!")):
        (tmp_path / name).mkdir()
        build(tmp_path / name, tokenizer_file)
        rows = tmp_path / name / "self_instruct" / "rows.jsonl"
        rows.write_text(rows.read_text().replace("answer 7.", f"answer 7.{more}"))
        summary = build_sft_set(
            [SelfInstructSource(name="made")],
            SftSetSpec(),
            None,
            tokenizer_file,
            tmp_path / name / "again",
            tmp_path,
            {"self_instruct": tmp_path / name / "self_instruct"},
        )
        hashes.append(summary.source_hashes["made"])
    assert hashes[0] == hashes[1] != hashes[2]
