"""Preference pairs and thumbs as rows: the token ids of TRL's own preparation, and what becomes of long ones."""

from typing import Any

import pytest
from datasets import Dataset
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.model import load_base_model, load_tokenizer
from llmops_assets.training.preparation.arrow_rows import read_rows
from llmops_assets.training.rows import BrokenRow
from llmops_assets_tests.training.preparation.conftest import Prepare

PROMPT = [{"role": "user", "content": "Copy?"}]
LONG = "Return the file. " * 60


def pair(chosen: Any = "Yes.", rejected: Any = "No.", prompt: Any = PROMPT) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def test_token_ids_are_those_that_trl_makes_of_the_same_pairs(
    base: BaseModelRef, prepare_rows: Prepare, tmp_path: Any
) -> None:
    pairs = [pair("Return the copy.", f"Return item {i}.") for i in range(5)]
    folder, _ = prepare_rows(pairs, "dpo")
    messages = [
        {key: [{"role": "assistant", "content": p[key]}] for key in ("chosen", "rejected")} | {"prompt": p["prompt"]}
        for p in pairs
    ]
    theirs = DPOTrainer(
        model=load_base_model(base, "fp32"),
        ref_model=load_base_model(base, "fp32"),
        args=DPOConfig(output_dir=str(tmp_path / "trl"), use_cpu=True, bf16=False, report_to=[]),
        train_dataset=Dataset.from_list(messages),
        processing_class=load_tokenizer(base),
    ).train_dataset
    assert isinstance(theirs, Dataset)
    columns = ["prompt_ids", "chosen_ids", "rejected_ids"]
    assert read_rows(folder).to_dict() == theirs.select_columns(columns).to_dict()


def test_answers_may_be_texts_or_messages(prepare_rows: Prepare) -> None:
    as_messages = pair([{"role": "assistant", "content": "Yes."}], [{"role": "assistant", "content": "No."}])
    folder, _ = prepare_rows([pair(), as_messages], "dpo")
    rows = read_rows(folder)
    assert rows[0] == rows[1]


def test_pair_with_an_answer_that_would_be_cut_is_left_out_and_counted(prepare_rows: Prepare) -> None:
    folder, counts = prepare_rows([pair(), pair(rejected=LONG)], "dpo")
    assert len(read_rows(folder)) == counts["rows_too_long"] == 1


def test_cut_prompt_shortens_the_question_of_both_answers_alike(base: BaseModelRef, prepare_rows: Prepare) -> None:
    question = [{"role": "user", "content": LONG + "Copy?"}]
    folder, counts = prepare_rows([pair("Yes, it does.", "No.", question)], "dpo", long_rows="cut_prompt")
    row = read_rows(folder)[0]
    tokenizer = load_tokenizer(base)
    assert str(tokenizer.decode(row["chosen_ids"])).startswith("Yes, it does.<|im_end|>")
    assert "Copy?" in str(tokenizer.decode(row["prompt_ids"]))
    assert 40 < len(row["prompt_ids"]) + len(row["chosen_ids"]) <= 64
    assert counts["rows_shortened"] == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (pair("Same.", "Same."), "same answer"),
        ({"prompt": PROMPT, "chosen": "Yes."}, "'rejected'"),
        (pair(prompt="Copy?"), "'prompt'"),
        (pair([{"role": "user", "content": "Yes."}]), "assistant answered"),
        (pair(" "), "not empty"),
    ],
)
def test_unusable_pair_is_named(prepare_rows: Prepare, row: dict, message: str) -> None:
    with pytest.raises(BrokenRow, match=rf"train\.jsonl:1: .*{message}"):
        prepare_rows([row], "dpo")


def test_thumb_must_be_up_or_down(prepare_rows: Prepare) -> None:
    row = {"prompt": PROMPT, "completion": "Yes.", "label": True}
    folder, _ = prepare_rows([row, row | {"label": False}], "kto")
    assert read_rows(folder)["label"][:] == [True, False]
    with pytest.raises(BrokenRow, match=r"train\.jsonl:2: label must be true"):
        prepare_rows([row, row | {"label": 1}], "kto")
