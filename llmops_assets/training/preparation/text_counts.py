"""How many tokens prepared rows hold, and what the texts in them cost to compute: that a run's MFU is counted on."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from llmops_assets.training.preparation.chat_rows import IGNORED
from llmops_assets.training.preparation.counts import Counts
from llmops_assets.training.preparation.pair_rows import SIDES, common_prefix

OF_TEXTS = frozenset({"text_tokens", "squared_lengths", "shared_tokens", "squared_shared_lengths"})
"""Counts that say what texts cost to compute: for the MFU, of no use as metrics of a run."""

_ROWS_AT_ONCE = 1000


def count_rows(counts: Counts, split: str, rows: Dataset) -> None:
    """Add what `rows` hold to `counts`, all under names that begin with `split` ("train", "validation").

    A text is what attention sees as one: a document or conversation, apart from others in a packed row, or a prompt
    with one of its answers. Names:

    - rows; tokens: those on the disk, with the prompt of a pair once; tokens_with_loss, of all texts;
    - text_tokens: the prompt of a pair counted in both of its texts, as trainers count the tokens that they have seen;
    - squared_lengths: the sum over texts of tokens^2, twice the scores that causal attention computes;
    - of pairs, shared_tokens: what both texts begin with, the prompt and equal first tokens of the answers; and
      squared_shared_lengths, the sum over pairs of shared tokens^2. Prefix sharing computes these once.
    """
    counts.add(f"{split}_rows", len(rows))
    for table in _tables(rows):
        for name, amount in _counted(table).items():
            counts.add(f"{split}_{name}", int(amount))


def _counted(table: pa.Table) -> dict[str, Any]:
    if "input_ids" in table.column_names:
        packed = "seq_lengths" in table.column_names
        texts = _flat(table, "seq_lengths") if packed else _lengths(table, "input_ids")
        loss = np.count_nonzero(_flat(table, "labels") != IGNORED)
        return {"tokens": texts.sum(), "tokens_with_loss": loss, **_of_texts(texts)}
    prompts = _lengths(table, "prompt_ids")
    if "completion_ids" in table.column_names:
        answers = _lengths(table, "completion_ids")
        tokens = (prompts + answers).sum()
        return {"tokens": tokens, "tokens_with_loss": answers.sum(), **_of_texts(prompts + answers)}
    columns = [f"{side}_ids" for side in SIDES]
    answers = np.stack([_lengths(table, column) for column in columns])
    both = zip(*(table[column].to_pylist() for column in columns), strict=True)
    shared = prompts + np.array([common_prefix(chosen, rejected) for chosen, rejected in both], dtype=np.int64)
    return {
        "tokens": prompts.sum() + answers.sum(),
        "tokens_with_loss": answers.sum(),
        **_of_texts(prompts + answers),
        "shared_tokens": shared.sum(),
        "squared_shared_lengths": (shared**2).sum(),
    }


def _of_texts(lengths: np.ndarray) -> dict[str, Any]:
    return {"text_tokens": lengths.sum(), "squared_lengths": (lengths**2).sum()}


def _tables(rows: Dataset) -> Iterator[pa.Table]:
    yield from rows.with_format("arrow").iter(batch_size=_ROWS_AT_ONCE)  # pyright: ignore[reportReturnType]


def _lengths(table: pa.Table, column: str) -> np.ndarray:
    """Return the tokens of each row, int64 [rows]."""
    return pc.list_value_length(table[column]).to_numpy().astype(np.int64)  # pyright: ignore[reportAttributeAccessIssue]


def _flat(table: pa.Table, column: str) -> np.ndarray:
    """Return the values of all rows one after the other, int64 [values]."""
    return pc.list_flatten(table[column]).to_numpy().astype(np.int64)  # pyright: ignore[reportAttributeAccessIssue]
