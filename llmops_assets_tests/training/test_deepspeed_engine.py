"""The engine check refuses what is not the backend that was asked for, and weights are gathered for rank 0 alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmops_assets.training import sft
from llmops_assets.training.deepspeed_engine import WrongEngine, require_engine, zero_stage
from llmops_assets.training.job import BaseModelRef
from llmops_assets.training.model import load_base_model, load_tokenizer, new_adapter
from llmops_assets.training.preparation.loading import load_rows

from . import published_by_rank
from .conftest import Files, make_job

REPOSITORY = Path(__file__).parents[2]


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


@pytest.mark.slow
def test_rank_0_alone_holds_what_is_published_and_all_ranks_end_by_its_judgement(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", published_by_rank.__name__, str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1))
    assert first["gathered"] == first["published"] == first["everywhere"] == ["bias", "weight"]
    assert second["gathered"] == second["published"] == []
    assert second["everywhere"] == ["bias", "weight"]
    assert first["error"] == second["error"]
    assert "nothing was learned" in first["error"]
