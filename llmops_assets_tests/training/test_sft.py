"""Supervised fine-tuning rows: labels, and what happens to conversations that do not fit."""

from pathlib import Path

import pytest

from llmops_assets.training import sft
from llmops_assets.training.chat_template import assistant_mask
from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.model import load_tokenizer
from llmops_assets.training.rows import BrokenRow, NothingToTrain

from .conftest import make_job, write_jsonl

SPEC = {"stage": "sft", "backend": "plain", "max_length": 64}


def chat(answer: str) -> dict:
    return {"messages": [{"role": "user", "content": "Copy?"}, {"role": "assistant", "content": answer}]}


def test_labels_are_the_tokens_that_the_assistant_writes(base: BaseModelRef, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(base)
    file = write_jsonl(tmp_path / "train.jsonl", [chat("Return the copy.")])
    row = sft.load_rows(make_job(tmp_path, base, file, SPEC), tokenizer).train[0]
    ids, mask = assistant_mask(tokenizer, chat("Return the copy.")["messages"])
    assert row["input_ids"] == ids
    assert row["labels"] == [token if trained else -100 for token, trained in zip(ids, mask, strict=True)]


def test_conversation_that_would_lose_its_stop_token_is_left_out_and_counted(
    base: BaseModelRef, tmp_path: Path
) -> None:
    file = write_jsonl(tmp_path / "train.jsonl", [chat("Short."), chat("Return the file. " * 60)])
    rows = sft.load_rows(make_job(tmp_path, base, file, SPEC), load_tokenizer(base))
    assert len(rows.train) == 1
    assert rows.counts["train_rows_too_long"] == 1
    assert 0 < rows.counts["train_tokens_with_loss"] < rows.counts["train_tokens"]


def test_file_with_only_too_long_conversations_is_refused_with_the_limit(base: BaseModelRef, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "train.jsonl", [chat("Return the file. " * 60)])
    with pytest.raises(NothingToTrain, match="max_length: 64"):
        sft.load_rows(make_job(tmp_path, base, file, SPEC), load_tokenizer(base))


def test_conversation_without_an_answer_is_named(base: BaseModelRef, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "train.jsonl", [{"messages": [{"role": "user", "content": "Copy?"}]}])
    with pytest.raises(BrokenRow, match=r"train\.jsonl:1: .*no assistant turn"):
        sft.load_rows(make_job(tmp_path, base, file, SPEC), load_tokenizer(base))
