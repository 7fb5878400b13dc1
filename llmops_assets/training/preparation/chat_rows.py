"""Conversations as rows: rendered by the chat template, with loss on what the assistant writes alone."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from llmops_assets.training.chat_template import UntrainableTemplate, assistant_mask, require_trainable_template
from llmops_assets.training.preparation.counts import Counts
from llmops_assets.training.preparation.job import PreparationSpec
from llmops_assets.training.preparation.long_conversations import RowTooLong, with_cut_prompt, without_last_turns
from llmops_assets.training.rows import BrokenRow, read_rows, required_messages

IGNORED = -100
Message = dict[str, Any]


def chat_rows(
    path: Path, tokenizer: PreTrainedTokenizerBase, spec: PreparationSpec, counts: Counts
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield `(source row, {"input_ids", "labels"})` for each conversation of `path` that fits or can be made to fit.

    Labels are -100 where no loss is taken. What was shortened or left out is added to `counts`.

    Raises UntrainableTemplate, BrokenRow and, with `long_rows: error`, RowTooLong.
    """
    require_trainable_template(tokenizer)
    for where, row in read_rows(path):
        messages = required_messages(where, row, "messages")
        try:
            ids, mask = assistant_mask(tokenizer, messages)
        except UntrainableTemplate as error:
            raise UntrainableTemplate(f"{where}: {error}") from error
        if not any(mask):
            raise BrokenRow(f"{where}: the conversation has no assistant turn, so there is nothing to learn from it")
        if len(ids) > spec.max_length:
            shorter = _shortened(where, messages, len(ids), tokenizer, spec, counts)
            if shorter is None:
                counts.add("rows_too_long")
                continue
            ids, mask = assistant_mask(tokenizer, shorter)
            if len(ids) > spec.max_length or not any(mask):
                counts.add("rows_too_long")
                continue
            counts.add("rows_shortened")
        labels = [token if trained else IGNORED for token, trained in zip(ids, mask, strict=True)]
        yield row, {"input_ids": ids, "labels": labels}


def _shortened(
    where: str,
    messages: Sequence[Message],
    tokens: int,
    tokenizer: PreTrainedTokenizerBase,
    spec: PreparationSpec,
    counts: Counts,
) -> list[Message] | None:
    def length(conversation: Sequence[Message]) -> int:
        return len(assistant_mask(tokenizer, conversation)[0])

    if spec.long_rows == "error":
        raise RowTooLong(
            f"{where}: {tokens} tokens, max_length is {spec.max_length}; raise it, shorten the row, or set long_rows "
            "to drop, drop_turns or cut_prompt"
        )
    if spec.long_rows == "drop_turns":
        kept = without_last_turns(messages, length, spec.max_length)
        counts.add("turns_left_out", len(messages) - len(kept) if kept else 0)
        return kept
    if spec.long_rows == "cut_prompt":
        return with_cut_prompt(messages, length, spec.max_length, tokenizer)
    return None
