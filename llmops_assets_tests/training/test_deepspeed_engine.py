"""The engine check refuses what is not the backend that was asked for."""

from pathlib import Path

import pytest

from llmops_assets.training import sft
from llmops_assets.training.deepspeed_engine import WrongEngine, require_engine, zero_stage
from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.model import load_base_model, load_tokenizer, new_adapter
from llmops_assets.training.preparation.loading import load_rows

from .conftest import Files, make_job


@pytest.mark.parametrize("asked", ["zero1", "zero2", "zero3", "ddp"])
def test_plain_engine_is_not_taken_for_another(base: BaseModelRef, files: Files, tmp_path: Path, asked: str) -> None:
    job = make_job(tmp_path, base, files.sft, {"stage": "sft", "backend": "plain"})
    tokenizer, rows = load_tokenizer(base), load_rows(job)
    model = new_adapter(load_base_model(base, "fp32"), job.spec)
    trainer = sft.build_trainer(model, tokenizer, rows, sft.training_arguments(job, rows))
    assert require_engine(trainer, "plain") == "PeftModelForCausalLM"
    with pytest.raises(WrongEngine, match=f"{asked} was asked for"):
        require_engine(trainer, asked)


@pytest.mark.parametrize(("backend", "stage"), [("plain", 0), ("ddp", 0), ("zero1", 1), ("zero2", 2), ("zero3", 3)])
def test_stage_of_a_backend(backend: str, stage: int) -> None:
    assert zero_stage(backend) == stage
