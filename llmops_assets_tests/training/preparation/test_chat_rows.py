"""Conversations as rows: which tokens carry loss, and what becomes of those that do not fit."""

import pytest

from llmops_assets.training.chat_template import assistant_mask
from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.model import load_tokenizer
from llmops_assets.training.preparation.arrow_rows import read_rows
from llmops_assets.training.preparation.long_conversations import RowTooLong
from llmops_assets.training.rows import BrokenRow, NothingToTrain
from llmops_assets_tests.training.preparation.conftest import Prepare

LONG = "Return the file. " * 60


def chat(*turns: str) -> dict:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)]}


def answers(base: BaseModelRef, row: dict) -> str:
    """The text that carries loss."""
    return str(load_tokenizer(base).decode([token for token in row["labels"] if token != -100]))


def test_labels_are_the_tokens_that_the_assistant_writes(base: BaseModelRef, prepare_rows: Prepare) -> None:
    folder, _ = prepare_rows([chat("Copy?", "Return the copy.")], "sft")
    row = read_rows(folder)[0]
    ids, mask = assistant_mask(load_tokenizer(base), chat("Copy?", "Return the copy.")["messages"])
    assert row["input_ids"] == ids
    assert row["labels"] == [token if trained else -100 for token, trained in zip(ids, mask, strict=True)]


def test_drop_leaves_out_what_is_too_long_and_counts_it(prepare_rows: Prepare) -> None:
    folder, counts = prepare_rows([chat("Copy?", "Short."), chat("Copy?", LONG)], "sft")
    assert len(read_rows(folder)) == counts["train_rows"] == counts["rows_too_long"] == 1
    assert 0 < counts["train_tokens_with_loss"] < counts["train_tokens"]


def test_drop_turns_keeps_whole_exchanges_from_the_beginning(base: BaseModelRef, prepare_rows: Prepare) -> None:
    folder, counts = prepare_rows([chat("Copy?", "Short.", "And sort?", LONG)], "sft", long_rows="drop_turns")
    assert answers(base, read_rows(folder)[0]) == "Short.<|im_end|>"
    assert (counts["rows_shortened"], counts["turns_left_out"]) == (1, 2)


def test_cut_prompt_keeps_the_whole_answer_and_the_end_of_the_question(
    base: BaseModelRef, prepare_rows: Prepare
) -> None:
    question = LONG + "What does copy do?"
    folder, counts = prepare_rows([chat(question, "Return the copy.")], "sft", long_rows="cut_prompt")
    row = read_rows(folder)[0]
    assert answers(base, row) == "Return the copy.<|im_end|>"
    assert "What does copy do?" in str(load_tokenizer(base).decode(row["input_ids"]))
    assert 48 < len(row["input_ids"]) <= 64
    assert counts["rows_shortened"] == 1


@pytest.mark.parametrize("policy", ["drop_turns", "cut_prompt"])
def test_an_answer_that_alone_is_too_long_is_left_out_whole(prepare_rows: Prepare, policy: str) -> None:
    folder, counts = prepare_rows([chat("Copy?", "Short."), chat("Copy?", LONG)], "sft", long_rows=policy)
    assert len(read_rows(folder)) == counts["rows_too_long"] == 1


def test_error_names_file_line_and_lengths(prepare_rows: Prepare) -> None:
    with pytest.raises(RowTooLong, match=r"train\.jsonl:2: \d{3} tokens, max_length is 64"):
        prepare_rows([chat("Copy?", "Short."), chat("Copy?", LONG)], "sft", long_rows="error")


def test_set_with_only_too_long_conversations_is_refused_with_the_limit(prepare_rows: Prepare) -> None:
    with pytest.raises(NothingToTrain, match="max_length: 64"):
        prepare_rows([chat("Copy?", LONG)], "sft")


def test_conversation_without_an_answer_is_named(prepare_rows: Prepare) -> None:
    with pytest.raises(BrokenRow, match=r"train\.jsonl:1: .*no assistant turn"):
        prepare_rows([chat("Copy?")], "sft")


def test_packed_conversations_stay_whole_and_keep_their_labels(prepare_rows: Prepare) -> None:
    chats = [chat(f"Copy {i}?", f"Return item {i}.") for i in range(9)]
    padded, _ = prepare_rows(chats, "sft")
    whole = {tuple(row["labels"]) for row in read_rows(padded)}  # pyright: ignore[reportCallIssue, reportArgumentType]
    folder, counts = prepare_rows(chats, "sft", packed=True)
    found = set()
    for row in read_rows(folder):
        assert isinstance(row, dict)
        start = 0
        for length in row["seq_lengths"]:
            found.add(tuple(row["labels"][start : start + length]))
            start += length
    assert found == whole
    assert counts["train_rows"] < 9
