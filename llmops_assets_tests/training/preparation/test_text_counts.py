"""What rows.json says of the texts in prepared rows, against the rows themselves."""

from typing import Any

from llmops_assets.training.preparation.arrow_rows import read_rows
from llmops_assets_tests.training.conftest import Files
from llmops_assets_tests.training.preparation.conftest import Prepare


def squares(lengths: list[int]) -> int:
    return sum(length**2 for length in lengths)


def test_texts_of_packed_rows_are_the_documents(files: Files, prepare_rows: Prepare) -> None:
    folder, counts = prepare_rows(files.cpt, "cpt", packed=True, validation_share=0.3)
    for split in ("train", "validation"):
        lengths = [length for row in read_rows(folder, f"{split}.arrow")["seq_lengths"] for length in row]
        assert len(lengths) > counts[f"{split}_rows"]
        assert counts[f"{split}_tokens"] == counts[f"{split}_text_tokens"] == sum(lengths)
        assert counts[f"{split}_squared_lengths"] == squares(lengths)


def test_texts_of_other_rows_are_the_rows(files: Files, prepare_rows: Prepare) -> None:
    folder, counts = prepare_rows(files.sft, "sft", max_length=128)
    rows = read_rows(folder)
    lengths = [len(ids) for ids in rows["input_ids"]]
    assert counts["train_tokens"] == counts["train_text_tokens"] == sum(lengths)
    assert counts["train_squared_lengths"] == squares(lengths)
    assert counts["train_tokens_with_loss"] == sum(label != -100 for labels in rows["labels"] for label in labels)
    assert "train_shared_tokens" not in counts


def test_pairs_have_two_texts_and_what_these_begin_with_in_common(files: Files, prepare_rows: Prepare) -> None:
    folder, counts = prepare_rows(files.dpo, "dpo", max_length=128)
    rows: list[dict[str, Any]] = [dict(row) for row in read_rows(folder)]  # pyright: ignore[reportCallIssue, reportArgumentType]
    texts = [[row["prompt_ids"] + row[f"{side}_ids"] for side in ("chosen", "rejected")] for row in rows]
    lengths = [len(text) for pair in texts for text in pair]
    answers = sum(len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in rows)
    shared = [next(i for i, (a, b) in enumerate(zip(*pair, strict=False)) if a != b) for pair in texts]
    assert counts["train_tokens_with_loss"] == answers
    assert counts["train_tokens"] == answers + sum(len(row["prompt_ids"]) for row in rows)
    assert counts["train_text_tokens"] == sum(lengths)
    assert counts["train_squared_lengths"] == squares(lengths)
    assert counts["train_shared_tokens"] == sum(shared) > sum(len(row["prompt_ids"]) for row in rows)
    assert counts["train_squared_shared_lengths"] == squares(shared)


def test_loss_of_thumbs_is_on_the_answers(prepare_rows: Prepare) -> None:
    prompt = [{"role": "user", "content": "Copy?"}]
    thumbs = [{"prompt": prompt, "completion": "Yes. " * n, "label": n > 1} for n in (1, 2, 3)]
    folder, counts = prepare_rows(thumbs, "kto")
    rows = read_rows(folder)
    lengths = [len(p) + len(c) for p, c in zip(rows["prompt_ids"], rows["completion_ids"], strict=True)]
    assert counts["train_tokens_with_loss"] == sum(map(len, rows["completion_ids"]))
    assert counts["train_tokens"] == counts["train_text_tokens"] == sum(lengths)
    assert counts["train_squared_lengths"] == squares(lengths)
