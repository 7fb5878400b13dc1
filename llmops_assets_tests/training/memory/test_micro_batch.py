"""The largest micro step of each stage and batching: its tokens, and how its attention keeps texts apart."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from llmops_assets.training.memory.micro_batch import Batch, batch_of
from llmops_assets.training.specs import AnyStageSpec

_STAGE: TypeAdapter[AnyStageSpec] = TypeAdapter(AnyStageSpec)


def batch(stage: str, **settings: Any) -> Batch:
    shared = {"max_steps": 1, "learning_rate": 0.1, "batch_size": 4, "max_length": 100}
    return batch_of(_STAGE.validate_python({"stage": stage, **shared, **settings}))


@pytest.mark.parametrize(("stage", "rows"), [("sft", 4), ("kd", 4), ("kto", 4), ("dpo", 8)])
def test_padded_rows_have_a_mask_unless_there_is_one_or_segments_reads_them(stage: str, rows: int) -> None:
    assert batch(stage) == batch(stage, attention="sdpa") == Batch(rows, 100, "masked")
    assert batch(stage, attention="segments") == Batch(rows, 100, "causal")
    assert batch(stage, attention="eager") == Batch(rows, 100, "scores")
    assert batch(stage, attention="flash_attention_2") == Batch(rows, 100, "documents")


def test_single_row_needs_no_mask() -> None:
    for settings in ({}, {"batching": "padding_free"}, {"attention": "flash_attention_2"}):
        assert batch("sft", batch_size=1, **settings) == Batch(1, 100, "causal")
    # A packed row may hold several texts, and a pair has two.
    assert batch("sft", batch_size=1, batching="packed") == Batch(1, 100, "documents")
    assert batch("dpo", batch_size=1, batching="padding_free") == Batch(1, 200, "documents")


@pytest.mark.parametrize(
    ("stage", "settings", "tokens"),
    [
        ("cpt", {}, 400),
        ("sft", {"batching": "packed"}, 400),
        ("sft", {"batching": "padding_free"}, 400),
        ("kd", {"batching": "packed"}, 400),
        ("dpo", {"batching": "padding_free"}, 800),
    ],
)
@pytest.mark.parametrize(
    ("attention", "memory"),
    [
        ("auto", "documents"),
        ("segments", "documents"),
        ("sdpa", "masked"),
        ("eager", "scores"),
        ("flash_attention_3", "causal"),
    ],
)
def test_texts_in_one_row_are_told_apart_by_what_attention_needs(
    stage: str, settings: dict[str, str], tokens: int, attention: str, memory: Any
) -> None:
    assert batch(stage, attention=attention, **settings) == Batch(1, tokens, memory)


def test_pairs_that_share_prefixes_may_have_none_in_common() -> None:
    assert batch("dpo", batching="prefix_sharing") == Batch(1, 800, "prefixes", pairs=4)
