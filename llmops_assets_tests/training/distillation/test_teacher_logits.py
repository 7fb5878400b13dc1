"""What is recorded of a teacher is what its own forward pass says, row by row."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from llmops_assets.training.distillation.teacher_logits import IDS, LOG_PROBS, TAIL, record_teacher
from llmops_assets.training.distillation.worker import main
from llmops_assets.training.model import load_tokenizer
from llmops_assets.training.preparation.arrow_rows import read_rows
from llmops_assets_tests.training.distillation.conftest import IGNORED, PADDED_VOCABULARY, ROWS, World

TOP_K = 12


@pytest.fixture(scope="module")
def recorded(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    record_teacher(world.job(folder, world.padded, TOP_K))
    return folder


def test_each_row_holds_the_log_probs_of_the_teachers_own_forward(world: World, recorded: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(world.teacher.name, dtype=torch.float32).eval()
    vocabulary = len(load_tokenizer(world.student))
    assert model.config.vocab_size == PADDED_VOCABULARY > vocabulary
    rows, teacher = read_rows(world.padded).to_list(), read_rows(recorded).to_list()
    assert len(teacher) == ROWS
    for row, kept in zip(rows, teacher, strict=True):
        labels = torch.tensor(row["labels"][1:])
        with torch.no_grad():
            logits = model(torch.tensor([row["input_ids"]])).logits[0, :-1][labels != IGNORED]
        expected = logits[:, :vocabulary].log_softmax(-1)
        ids = torch.tensor(kept[IDS]).view(-1, TOP_K)
        assert len(ids) == len(expected) == len(kept[TAIL])
        log_probs = torch.tensor(kept[LOG_PROBS]).view(-1, TOP_K)
        # float16 keeps eleven bits of a log-probability.
        torch.testing.assert_close(log_probs, expected.gather(1, ids), rtol=2**-10, atol=1e-4)
        assert (expected.topk(TOP_K).indices == ids).all()
        tail = expected.exp().scatter(1, ids, 0.0).sum(1).log()
        torch.testing.assert_close(torch.tensor(kept[TAIL]), tail, rtol=1e-4, atol=1e-4)


def test_packed_rows_are_recorded_document_by_document(world: World, recorded: Path, tmp_path: Path) -> None:
    record_teacher(world.job(tmp_path, world.packed, TOP_K))
    apart, together = read_rows(recorded), read_rows(tmp_path)
    for index, row in enumerate(together.to_list()):
        for name in (IDS, LOG_PROBS, TAIL):
            pair = apart[2 * index][name] + apart[2 * index + 1][name]
            np.testing.assert_allclose(row[name], pair, rtol=2**-10, atol=1e-5)


def test_worker_leaves_figures_last_and_the_same_bytes_each_time(world: World, recorded: Path, tmp_path: Path) -> None:
    job = world.job(tmp_path / "again", world.padded, TOP_K)
    (tmp_path / "job.json").write_text(job.model_dump_json())
    assert main([str(tmp_path / "job.json")]) == 0
    for file in ("train.arrow", "validation.arrow"):
        assert (tmp_path / "again" / file).read_bytes() == (recorded / file).read_bytes()
    figures = json.loads((tmp_path / "again" / "teacher_logits.json").read_text())
    labels = [
        label
        for file in ("train.arrow", "validation.arrow")
        for row in read_rows(world.padded, file)["labels"]
        for label in row
    ]
    assert figures["positions"] == sum(label != IGNORED for label in labels)
    assert (figures["train_rows"], figures["validation_rows"], figures["top_k"]) == (ROWS, 6, TOP_K)
    assert 0 < figures["mean_tail_mass"] < 1
    assert figures["vocabulary"] == len(load_tokenizer(world.student))


def test_more_than_the_vocabulary_is_the_vocabulary(world: World, tmp_path: Path) -> None:
    result = record_teacher(world.job(tmp_path, world.padded, 100_000))
    assert result.top_k == result.vocabulary
    assert result.mean_tail_mass == 0.0
    assert set(np.asarray(read_rows(tmp_path)[0][TAIL])) == {float("-inf")}


def test_worker_says_which_key_of_its_job_is_wrong(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = world.job(tmp_path, world.padded, TOP_K).model_dump(mode="json")
    job["spec"]["top_k"] = 0
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert main([str(tmp_path / "job.json")]) == 1
    assert "spec.top_k" in capsys.readouterr().err
