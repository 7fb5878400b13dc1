"""Continued pre-training: what packing does to documents."""

from collections import Counter
from pathlib import Path

import pytest
from datasets import Dataset

from llmops_assets.training import cpt
from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.model import load_base_model, load_tokenizer, new_adapter
from llmops_assets.training.rows import BrokenRow, NothingToTrain

from .conftest import Files, make_job, write_jsonl

SPEC = {"stage": "cpt", "backend": "plain", "max_length": 64}


def test_packing_keeps_every_token_of_documents_longer_and_shorter_than_a_row(
    base: BaseModelRef, files: Files, tmp_path: Path
) -> None:
    job = make_job(tmp_path, base, files.cpt, SPEC)
    tokenizer = load_tokenizer(base)
    rows = cpt.load_rows(job, tokenizer)
    given = Counter(token for ids in rows.train["input_ids"] for token in ids)
    assert max(map(len, rows.train["input_ids"])) > 64 > min(map(len, rows.train["input_ids"]))

    model = new_adapter(load_base_model(base, "fp32"), job.spec)
    trainer = cpt.build_trainer(model, tokenizer, rows, cpt.training_arguments(job))
    assert isinstance(trainer.train_dataset, Dataset)
    packed = trainer.train_dataset["input_ids"]
    assert Counter(token for ids in packed for token in ids) == given
    assert max(map(len, packed)) <= 64
    assert sum(map(len, packed)) > 0.9 * 64 * len(packed)


def test_each_document_ends_with_the_separator_and_the_chat_stop_token_stays(
    base: BaseModelRef, files: Files, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(base)
    rows = cpt.load_rows(make_job(tmp_path, base, files.cpt, SPEC), tokenizer)
    separator = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert all(ids[-1] == separator and separator not in ids[:-1] for ids in rows.train["input_ids"])
    assert tokenizer.eos_token == "<|im_end|>"


def test_broken_row_is_named_by_file_line_and_key(base: BaseModelRef, tmp_path: Path) -> None:
    broken = write_jsonl(tmp_path / "train.jsonl", [{"text": "fine"}, {"txt": "typo"}])
    with pytest.raises(BrokenRow, match=r"train\.jsonl:2: key 'text'"):
        cpt.load_rows(make_job(tmp_path, base, broken, SPEC), load_tokenizer(base))


def test_line_that_is_not_json_is_named(base: BaseModelRef, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"text": "fine"}\n\n{"text": \n')
    with pytest.raises(BrokenRow, match=r"train\.jsonl:3: not JSON"):
        cpt.load_rows(make_job(tmp_path, base, path, SPEC), load_tokenizer(base))


def test_empty_file_is_refused(base: BaseModelRef, tmp_path: Path) -> None:
    with pytest.raises(NothingToTrain, match="empty"):
        cpt.load_rows(make_job(tmp_path, base, write_jsonl(tmp_path / "e.jsonl", []), SPEC), load_tokenizer(base))
