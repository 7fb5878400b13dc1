"""Documents of continued pre-training: packed without losing a token, and broken files named."""

import json
from collections import Counter
from pathlib import Path

import pytest

from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.model import load_tokenizer
from llmops_assets.training.preparation.arrow_rows import read_rows
from llmops_assets.training.rows import BrokenRow, NothingToTrain
from llmops_assets_tests.training.conftest import Files, write_jsonl
from llmops_assets_tests.training.preparation.conftest import Prepare


def test_packing_keeps_every_token_of_documents_longer_and_shorter_than_a_row(
    base: BaseModelRef, files: Files, prepare_rows: Prepare
) -> None:
    tokenizer = load_tokenizer(base)
    separator = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    texts = [json.loads(line)["text"] for line in files.cpt.read_text().splitlines()]
    given = [[*ids, separator] for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]  # pyright: ignore
    assert max(map(len, given)) > 64 > min(map(len, given))

    folder, counts = prepare_rows(files.cpt, "cpt", packed=True)
    rows = read_rows(folder)
    assert Counter(token for ids in rows["input_ids"] for token in ids) == Counter(t for ids in given for t in ids)
    assert counts["train_tokens"] == counts["train_tokens_with_loss"] == sum(map(len, given))
    assert max(map(len, rows["input_ids"])) <= 64
    assert counts["train_tokens"] > 0.9 * 64 * counts["train_rows"]
    for row in rows:
        assert isinstance(row, dict)
        assert sum(row["seq_lengths"]) == len(row["input_ids"])
    assert tokenizer.eos_token == "<|im_end|>"


def test_broken_row_is_named_by_file_line_and_key(prepare_rows: Prepare) -> None:
    with pytest.raises(BrokenRow, match=r"train\.jsonl:2: key 'text'"):
        prepare_rows([{"text": "fine"}, {"txt": "typo"}], "cpt", packed=True)


def test_line_that_is_not_json_is_named(prepare_rows: Prepare, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"text": "fine"}\n\n{"text": \n')
    with pytest.raises(BrokenRow, match=r"train\.jsonl:3: not JSON"):
        prepare_rows(path, "cpt", packed=True)


def test_empty_file_is_refused(prepare_rows: Prepare, tmp_path: Path) -> None:
    with pytest.raises(NothingToTrain, match="empty"):
        prepare_rows(write_jsonl(tmp_path / "e.jsonl", []), "cpt", packed=True)
