"""Preference pairs as rows: the prompt once, and both answers from the token on in which they leave it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from llmops_assets.training.chat_template import conversation_ids, require_trainable_template
from llmops_assets.training.preparation.counts import Counts
from llmops_assets.training.preparation.job import PreparationSpec
from llmops_assets.training.preparation.long_conversations import RowTooLong, with_cut_prompt
from llmops_assets.training.rows import BrokenRow, read_rows, required_messages

Message = dict[str, Any]
SIDES = ("chosen", "rejected")


def pair_rows(
    path: Path, tokenizer: PreTrainedTokenizerBase, spec: PreparationSpec, counts: Counts
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield `(source row, {"prompt_ids", "chosen_ids", "rejected_ids"})` for each pair whose answers both fit.

    A row of the set has `prompt` (messages), `chosen` and `rejected` (a text, or a list of assistant messages). Token
    ids are those that TRL's DPOTrainer makes of such a row.

    Raises UntrainableTemplate, BrokenRow and, with `long_rows: error`, RowTooLong.
    """
    require_trainable_template(tokenizer)
    for where, row in read_rows(path):
        prompt = required_messages(where, row, "prompt")
        answers = {side: answer_messages(where, row, side) for side in SIDES}
        if answers["chosen"] == answers["rejected"]:
            raise BrokenRow(f"{where}: chosen and rejected are the same answer; remove the pair")
        fitting = fitting_prompt(where, prompt, list(answers.values()), tokenizer, spec, counts)
        if fitting is None:
            counts.add("rows_too_long")
            continue
        prompt_ids = conversation_ids(tokenizer, fitting, answer_follows=True)
        whole = {side: conversation_ids(tokenizer, fitting + answers[side]) for side in SIDES}
        shared = min(common_prefix(prompt_ids, ids) for ids in whole.values())
        yield (
            row,
            {
                "prompt_ids": prompt_ids[:shared],
                "chosen_ids": whole["chosen"][shared:],
                "rejected_ids": whole["rejected"][shared:],
            },
        )


def fitting_prompt(
    where: str,
    prompt: list[Message],
    answers: Sequence[list[Message]],
    tokenizer: PreTrainedTokenizerBase,
    spec: PreparationSpec,
    counts: Counts,
) -> list[Message] | None:
    """Return `prompt`, shortened if `long_rows` allows it, such that each answer ends within max_length; else None.

    Raises RowTooLong.
    """
    longest = max(answers, key=lambda answer: len(conversation_ids(tokenizer, prompt + answer)))

    def length(messages: Sequence[Message]) -> int:
        return len(conversation_ids(tokenizer, [*messages, *longest]))

    tokens = length(prompt)
    if tokens <= spec.max_length:
        return prompt
    if spec.long_rows == "error":
        raise RowTooLong(
            f"{where}: {tokens} tokens, max_length is {spec.max_length}; raise it, shorten the row, or set long_rows "
            "to drop or cut_prompt"
        )
    if spec.long_rows != "cut_prompt":
        return None
    shorter = with_cut_prompt(prompt, length, spec.max_length, tokenizer)
    if shorter is None or length(shorter) > spec.max_length:
        return None
    counts.add("rows_shortened")
    return shorter


def answer_messages(where: str, row: dict[str, Any], key: str) -> list[Message]:
    """Return the answer `row[key]` as assistant messages; it may be given as a text. Raises BrokenRow."""
    if isinstance(row.get(key), str):
        row = {key: [{"role": "assistant", "content": row[key]}]}
    messages = required_messages(where, row, key)
    if any(message["role"] != "assistant" or not message["content"].strip() for message in messages):
        raise BrokenRow(f"{where}: {key} must be what the assistant answered, and not empty")
    return messages


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two sequences begin with in common."""
    differs = (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    return next(differs, min(len(first), len(second)))
