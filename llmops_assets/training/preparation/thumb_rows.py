"""Single answers with a thumb each, as rows of KTO."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from llmops_assets.training.chat_template import conversation_ids, require_trainable_template
from llmops_assets.training.preparation.counts import Counts
from llmops_assets.training.preparation.job import PreparationSpec
from llmops_assets.training.preparation.pair_rows import answer_messages, common_prefix, fitting_prompt
from llmops_assets.training.rows import BrokenRow, read_rows, required_messages


def thumb_rows(
    path: Path, tokenizer: PreTrainedTokenizerBase, spec: PreparationSpec, counts: Counts
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield `(source row, {"prompt_ids", "completion_ids", "label"})` for each answer that fits.

    A row of the set has `prompt` (messages), `completion` (a text, or assistant messages) and `label`, true for a
    thumb up.

    Raises UntrainableTemplate, BrokenRow and, with `long_rows: error`, RowTooLong.
    """
    require_trainable_template(tokenizer)
    for where, row in read_rows(path):
        prompt = required_messages(where, row, "prompt")
        answer = answer_messages(where, row, "completion")
        if not isinstance(row.get("label"), bool):
            raise BrokenRow(f"{where}: label must be true (thumb up) or false, found {row.get('label')!r}")
        fitting = fitting_prompt(where, prompt, [answer], tokenizer, spec, counts)
        if fitting is None:
            counts.add("rows_too_long")
            continue
        prompt_ids = conversation_ids(tokenizer, fitting, answer_follows=True)
        whole = conversation_ids(tokenizer, fitting + answer)
        shared = common_prefix(prompt_ids, whole)
        yield row, {"prompt_ids": prompt_ids[:shared], "completion_ids": whole[shared:], "label": row["label"]}
