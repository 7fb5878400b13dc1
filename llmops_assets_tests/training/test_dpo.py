"""Preference rows and the loss that a DPO spec asks for."""

from pathlib import Path

import pytest

from llmops_assets.training import dpo
from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.model import load_tokenizer
from llmops_assets.training.rows import BrokenRow

from .conftest import Files, make_job, write_jsonl

SPEC = {"stage": "dpo", "backend": "plain", "max_length": 64}
PROMPT = [{"role": "user", "content": "Copy?"}]


def test_answers_may_be_texts_or_messages(base: BaseModelRef, tmp_path: Path) -> None:
    texts = {"prompt": PROMPT, "chosen": "Yes.", "rejected": "No."}
    messages = {
        "prompt": PROMPT,
        "chosen": [{"role": "assistant", "content": "Yes."}],
        "rejected": [{"role": "assistant", "content": "No."}],
    }
    file = write_jsonl(tmp_path / "train.jsonl", [texts, messages])
    rows = dpo.load_rows(make_job(tmp_path, base, file, SPEC), load_tokenizer(base))
    assert rows.train[0] == rows.train[1] == messages


def test_pair_with_an_answer_that_would_be_cut_is_left_out_and_counted(base: BaseModelRef, tmp_path: Path) -> None:
    pairs = [
        {"prompt": PROMPT, "chosen": "Yes.", "rejected": "No."},
        {"prompt": PROMPT, "chosen": "Yes.", "rejected": "Return the file. " * 60},
    ]
    rows = dpo.load_rows(make_job(tmp_path, base, write_jsonl(tmp_path / "t.jsonl", pairs), SPEC), load_tokenizer(base))
    assert rows.counts == {"train_pairs": 1, "train_pairs_too_long": 1}


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ({"prompt": PROMPT, "chosen": "Same.", "rejected": "Same."}, "same answer"),
        ({"prompt": PROMPT, "chosen": "Yes."}, "'rejected'"),
        ({"prompt": "Copy?", "chosen": "Yes.", "rejected": "No."}, "'prompt'"),
        ({"prompt": PROMPT, "chosen": [{"role": "user", "content": "Yes."}], "rejected": "No."}, "assistant answered"),
        ({"prompt": PROMPT, "chosen": " ", "rejected": "No."}, "not empty"),
    ],
)
def test_unusable_pair_is_named(base: BaseModelRef, tmp_path: Path, pair: dict, message: str) -> None:
    job = make_job(tmp_path, base, write_jsonl(tmp_path / "train.jsonl", [pair]), SPEC)
    with pytest.raises(BrokenRow, match=rf"train\.jsonl:1: .*{message}"):
        dpo.load_rows(job, load_tokenizer(base))


def test_every_option_of_the_loss_reaches_the_trainer(base: BaseModelRef, files: Files, tmp_path: Path) -> None:
    spec = SPEC | {"loss_type": "robust", "label_smoothing": 0.2, "sft_weight": 0.5, "beta": 0.3}
    arguments = dpo.training_arguments(make_job(tmp_path, base, files.dpo, spec))
    assert (arguments.loss_type, arguments.loss_weights) == (["robust", "sft"], [1.0, 0.5])
    assert (arguments.label_smoothing, arguments.beta) == (0.2, 0.3)
